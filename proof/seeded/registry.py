"""Everything that is shown, family by family. Nothing gets here by being imported."""

from __future__ import annotations

from dataclasses import replace

from conformance.nouns.entry import Entry
from proof.seeded import (
    equivalents,
    faults_between,
    faults_half,
    faults_layerwise,
    faults_lifecycle,
    faults_lora,
    faults_low_rank,
    faults_svd,
)
from proof.seeded.fault import FAULTS, Rewrite, Seeded
from proof.seeded.faults import codes, codes_merged, evaluated, trained, wrapped
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from variants.runtime.adapter import Adapter

__all__ = ["FAULTS", "REWRITES", "SEEDED_FAULTS", "Rewrite", "Seeded", "entry_of"]

SEEDED_FAULTS: tuple[Seeded, ...] = (
    *faults_lora.SEEDED_FAULTS,
    *faults_low_rank.SEEDED_FAULTS,
    *faults_layerwise.SEEDED_FAULTS,
    *faults_svd.SEEDED_FAULTS,
    *faults_lifecycle.SEEDED_FAULTS,
    *codes.SEEDED_FAULTS,
    *codes_merged.SEEDED_FAULTS,
    *evaluated.SEEDED_FAULTS,
    *wrapped.SEEDED_FAULTS,
    *trained.SEEDED_FAULTS,
    *faults_between.SEEDED_FAULTS,
    *faults_half.SEEDED_FAULTS,
)

REWRITES: tuple[Rewrite, ...] = (*equivalents.PARTS, *equivalents.REWRITES)


def entry_of(shown: Seeded | Rewrite) -> Entry:
    """The entry it stands in for, with its code: an ``Adapter``, or anything with a ``build`` of its own.

    Of kinds of layers besides torch's Linear it takes those that it names in ``layers``.
    """
    like = next(entry for entry in ENTRIES if entry.name == shown.like)
    hooks = ("build", "build_stack", "lifecycle", "ranks", "starts")
    own = {name: getattr(shown.variant, name) for name in hooks if hasattr(shown.variant, name)}
    own["layers"] = getattr(shown.variant, "layers", ())
    if "build" in own:  # what it builds is no adapter of the runtime
        own = {"lifecycle": None, "refused": (), **own}
    if issubclass(shown.variant, Adapter):
        return replace(entry_for(shown.variant, like=like), **own)
    left_out = {"lifecycle": None, "ranks": None, "starts": None, "refused": ()}
    return replace(like, code=shown.variant, **{**left_out, **own})
