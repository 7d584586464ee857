"""Is each limit that the entry declares observed: dtypes and inputs it does not take, bookkeeping buffers?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

import torch

from conformance.checks.check import SMALL
from conformance.checks.numbers import forward
from conformance.measuring.compare import Comparison, conclude, holds
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Float64, Stored
from refs.reference import Reference
from refs.subject import Subject

BATCHES: dict[int, tuple[int, ...]] = {1: (), 2: (5,), 3: (2, 3), 4: (2, 1, 3)}
"""A batch for each number of dimensions that x may have."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """One per declared limit, once per entry."""
    if entry.method is None or reference is not entry.method.main:
        return ()
    return tuple(Probe(label=label) for label, _ in entry.promises.limits)


def run(trial: Trial) -> Finding:
    """Go to the limit, which must be there: one that does not show any more is to be withdrawn."""
    label = trial.probe.label
    kind = "buffer" if label.startswith("buffer-") else label
    return conclude(trial.case, LIMITS[kind](trial))


def _plain(trial: Trial) -> Probe:
    """A float64 layer, or float32 where the subject does not take that; under the options that the reference sets."""
    dtype = "float32" if trial.entry.promises.float64 is Float64.REFUSED else "float64"
    alpha = SMALL.alpha if trial.entry.promises.scales else float(SMALL.r)
    return replace(SMALL, dtype=dtype, adapter=dtype, alpha=alpha, options=trial.reference.options)


def _under(trial: Trial, **changes: object) -> Trial:
    return replace(trial, probe=replace(_plain(trial), **changes))  # type: ignore[arg-type]


def _answers(trial: Trial) -> bool:
    """Whether it builds, and gives a finite output and gradients of the right shape and dtype."""
    try:
        subject = trial.subject()
        with asking_the_subject():
            y = run_pass(subject, trial.x, trial.cotangent).y
    except SubjectFailed:
        return False
    return y.shape == trial.cotangent.shape and y.dtype == trial.x.dtype and bool(y.isfinite().all())


def _dtypes(subject: Subject) -> set[torch.dtype]:
    slots = subject.slots()
    return {slots[name].value.dtype for name in subject.names if name in slots and slots[name].trainable}


def _one_dtype(trial: Trial) -> list[Comparison]:
    mixed = _under(trial, dtype="float32", adapter="bfloat16")
    try:
        follows = _dtypes(mixed.subject()) == {torch.float32}
    except SubjectFailed:
        follows = True
    there = follows or not _answers(mixed)
    got = "it computes" if not there else "an error, or tensors in float32"
    return [holds(there, "bfloat16 tensors on a float32 layer", got, "an error, or tensors in float32")]


def _stored(trial: Trial) -> list[Comparison]:
    half = _under(trial, dtype="bfloat16", adapter=None)
    want = torch.bfloat16 if trial.entry.promises.stored is Stored.AS_LAYER else torch.float32
    got = {str(dtype) for dtype in _dtypes(half.subject())}
    return [holds(got == {str(want)}, "tensors on a bfloat16 layer", ", ".join(sorted(got)), str(want), aspect="dtype")]


def _float64(trial: Trial) -> list[Comparison]:
    exact = _under(trial, dtype="float64", adapter="float64")
    if trial.entry.promises.float64 is Float64.REFUSED:
        answers = _answers(exact)
        return [holds(not answers, "float64 layer", "it computes" if answers else "no float64", "no float64")]
    seen = forward.run(exact)
    shows = seen.outcome is Outcome.DIFFER and seen.float32_would_agree
    got = "as exact as float64" if seen.outcome is Outcome.AGREE else "off by more than float32" if not shows else ""
    return [holds(shows, "float64 layer", got or "rounded to float32", "rounded to float32")]


def _input_ranks(trial: Trial) -> list[Comparison]:
    taken = trial.entry.promises.input_ranks
    found = []
    for rank, batch in BATCHES.items():
        answers = _answers(_under(trial, batch=batch))
        told = ["it raises", "it answers"]
        found.append(holds(answers == (rank in taken), f"{rank}-d input", told[answers], told[rank in taken]))
    return found


def _not_frozen(trial: Trial) -> list[Comparison]:
    base = _under(trial).subject().base
    trains = [name for name in ("weight", "bias") if getattr(getattr(base, name), "requires_grad", False)]
    return [holds(bool(trains), "base marked as trainable", ", ".join(trains) or "nothing", "weight or bias")]


def _buffer(trial: Trial) -> list[Comparison]:
    pattern = trial.probe.label.removeprefix("buffer-")
    there = [name for name, _ in _under(trial).subject().host.named_buffers() if fnmatchcase(name, pattern)]
    return [holds(bool(there), f"bookkeeping buffer {pattern}", ", ".join(there) or "none", "a buffer of that name")]


LIMITS: dict[str, Callable[[Trial], list[Comparison]]] = {
    "one-dtype": _one_dtype,
    "stored": _stored,
    "float64": _float64,
    "input-ranks": _input_ranks,
    "not-frozen": _not_frozen,
    "buffer": _buffer,
}
