"""Does every listed tensor change the output, as it does in the reference?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, with_options
from conformance.measuring.compare import Comparison, close, conclude, holds
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.facts import InfluenceFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

VISIBLE = 1e-6
"""A move of the output by this share of its size is no rounding (float64)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """A small configuration and one per option set, against each layer."""
    if isinstance(reference, ClosedForm):
        return ()
    return (SMALL, *with_options(entry, replace(SMALL, bias=False)))


def run(trial: Trial) -> Finding:
    """Move each tensor alone, on both sides, and look at the output."""
    values = trial.state(trial.reference_subject())
    theirs = _moves(trial, trial.reference_subject(values=values), list(values))
    subject = trial.subject(values=values)
    with asking_the_subject():
        own = _moves(trial, subject, list(subject.slots()))
    comparisons = [
        holds(own.get(name, False) or not moves, f"influence of {name}", _word(own.get(name)), _word(moves))
        for name, moves in theirs.items()
    ]
    comparisons += [
        holds(moves, f"influence of {name}", _word(moves), _word(True))
        for name, moves in own.items()
        if name not in theirs
    ]
    # In half precision some methods have another way for it.
    adapter = trial.probe.adapter if trial.entry.promises.mixes_dtypes else "bfloat16"
    half = replace(trial, probe=replace(trial.probe, dtype="bfloat16", adapter=adapter))
    comparisons += [*_followed(trial, values), *_followed(half, values)]
    return conclude(
        trial.case, comparisons, facts=InfluenceFacts(tuple(name for name, moves in own.items() if not moves))
    )


def _moves(trial: Trial, subject: Subject, names: list[str]) -> dict[str, bool]:
    before = subject.values()
    with torch.no_grad():
        y = subject(trial.x)
        moves = {}
        for name in names:
            if name not in subject.names:
                continue
            subject.load({name: trial.moved(name + "'", before[name], 0.3)})
            moves[name] = bool((subject(trial.x) - y).abs().max() > VISIBLE * y.abs().max())
            subject.load({name: before[name]})
    return moves


def _followed(trial: Trial, values: Mapping[str, Tensor]) -> list[Comparison]:
    """Each tensor, and the base's, moved alone between two calls without gradients: nothing kept may outlive it."""
    found = []
    for name in [*(name for name in values if name != RESIDUAL), "base weight", "base bias"]:
        subject, fresh = trial.subject(values=values), trial.subject(values=values)
        with asking_the_subject(), torch.no_grad():
            subject(trial.x)
            for side in (subject, fresh):
                own = getattr(side.base, name.removeprefix("base ")) if name.startswith("base ") else None
                if own is not None:
                    own.copy_(trial.moved(name, own.double(), 0.3))
                elif name in values:
                    side.load({name: trial.moved(name + "'", values[name], 0.3)})
            found.append(close(subject(trial.x), fresh(trial.x), f"output after {name} has moved, {trial.probe.dtype}"))
    return found


def _word(moves: bool | None) -> str:
    return "no such tensor" if moves is None else "changes the output" if moves else "changes nothing"
