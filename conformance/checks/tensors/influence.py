"""Does every listed tensor change the output, as it does in the reference?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, stands_alone, with_options
from conformance.measuring.compare import ROUNDED_K, Comparison, close, conclude, holds
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.measuring.witness import passes
from conformance.nouns.entry import Entry
from conformance.nouns.facts import InfluenceFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

COEFFICIENT = "the coefficient"
MOVED = -0.7
"""What the coefficient is set to, for a method that has one."""
VISIBLE = 1e-6
"""A move of the output by this share of its size is no rounding (float64)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """A small configuration and one per option set, against each layer, or a closed form that stands alone."""
    if isinstance(reference, ClosedForm) and not stands_alone(entry, reference):
        return ()
    return (SMALL, *with_options(entry, replace(SMALL, bias=False)))


def run(trial: Trial) -> Finding:
    """Move each tensor alone, on both sides, and look at the output."""
    form = trial.reference if isinstance(trial.reference, ClosedForm) else None
    if form is None:
        values = trial.state(trial.reference_subject())
        theirs = _moves(trial, trial.reference_subject(values=values), list(values))
    else:
        values = trial.state(trial.subject())
        theirs = _moves_of_form(trial, form, values)
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


def _moves_of_form(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor]) -> dict[str, bool]:
    y = passes(trial, form, values, x=trial.x, cotangent=trial.cotangent).y
    moves = {}
    for name in (name for name in values if name != RESIDUAL):
        moved = {**values, name: trial.moved(name + "'", values[name], 0.3)}
        gap = passes(trial, form, moved, x=trial.x, cotangent=trial.cotangent).y - y
        moves[name] = bool(gap.abs().max() > VISIBLE * y.abs().max())
    return moves


def _followed(trial: Trial, values: Mapping[str, Tensor]) -> list[Comparison]:
    """Each source of the output moved alone between two calls without gradients: nothing kept may outlive it."""
    found = []
    for mode, named in ((torch.no_grad, "no_grad"), (torch.inference_mode, "inference mode")):
        for name in [*(name for name in values if name != RESIDUAL), "base weight", "base bias", COEFFICIENT]:
            if name == COEFFICIENT and not _steers(trial):
                continue
            subject, fresh = trial.subject(values=values), trial.subject(values=values)
            with asking_the_subject():
                with mode():
                    subject(trial.x)
                for side in (subject, fresh):
                    _move(trial, side, name, values)
                with mode():
                    what = f"output after {name} has moved, {named}, {trial.probe.dtype}"
                    own, want = subject(trial.x).clone(), fresh(trial.x).clone()
                # The same code on the same numbers: of half precision, a spacing or two.
                size = want.abs().max().item() / (1 if want.dtype == torch.float64 else ROUNDED_K / 2)
                found.append(close(own, want, what, scale=size))
    return found


def _move(trial: Trial, side: Subject, name: str, values: Mapping[str, Tensor]) -> None:
    lifecycle = trial.entry.lifecycle
    if name == COEFFICIENT:
        assert lifecycle is not None
        assert lifecycle.steer is not None
        lifecycle.steer(side, MOVED)
    elif name.startswith("base "):
        own = getattr(side.base, name.removeprefix("base "))
        if own is not None:
            with torch.no_grad():
                own.copy_(trial.moved(name, own.double(), 0.3))
    elif name in values:
        side.load({name: trial.moved(name + "'", values[name], 0.3)})


def _steers(trial: Trial) -> bool:
    lifecycle = trial.entry.lifecycle
    return "steering" in trial.entry.invariants and lifecycle is not None and lifecycle.steer is not None


def _word(moves: bool | None) -> str:
    return "no such tensor" if moves is None else "changes the output" if moves else "changes nothing"
