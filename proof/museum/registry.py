"""Everything that is shown, family by family. Nothing gets here by being imported."""

from __future__ import annotations

from dataclasses import replace

from conformance.entry import Entry
from conformance.roster import ENTRIES, entry_for
from proof.museum import exhibits_layerwise, exhibits_life, exhibits_lora, exhibits_low_rank, exhibits_svd, rewritings
from proof.museum.exhibit import FAULTS, Exhibit, Rewriting
from proof.museum.wrong import codes, wrapped
from variants.runtime.adapter import Adapter

__all__ = ["EXHIBITS", "FAULTS", "REWRITINGS", "Exhibit", "Rewriting", "entry_of"]

EXHIBITS: tuple[Exhibit, ...] = (
    *exhibits_lora.EXHIBITS,
    *exhibits_low_rank.EXHIBITS,
    *exhibits_layerwise.EXHIBITS,
    *exhibits_svd.EXHIBITS,
    *exhibits_life.EXHIBITS,
    *codes.EXHIBITS,
    *wrapped.EXHIBITS,
)

REWRITINGS: tuple[Rewriting, ...] = (*rewritings.PARTS, *rewritings.REWRITINGS)


def entry_of(shown: Exhibit | Rewriting) -> Entry:
    """The entry it stands in for, with its code: an ``Adapter``, or anything with a ``build`` of its own."""
    like = next(entry for entry in ENTRIES if entry.name == shown.like)
    hooks = ("build", "build_stack", "life", "ranks")
    own = {name: getattr(shown.variant, name) for name in hooks if hasattr(shown.variant, name)}
    if "build" in own:  # what it builds is no adapter of the runtime
        own = {"life": None, "refused": (), **own}
    if issubclass(shown.variant, Adapter):
        return replace(entry_for(shown.variant, like=like), **own)
    return replace(like, code=shown.variant, **{"life": None, "ranks": None, "refused": (), **own})
