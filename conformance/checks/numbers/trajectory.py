"""Trained the same way, do both sides have the same losses and tensors after every step, and over seeds in bfloat16?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.optim import AdamW

from conformance.checks.check import SMALL, with_options
from conformance.measuring.compare import Comparison, close, conclude, raised, same
from conformance.measuring.conditioning import NUDGE, signs
from conformance.measuring.training import REGIMES, STEPS, Course, Lessons, Regime, lessons, train, train_form
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject
from conformance.measuring.witness import own_start, start
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Fault, Finding, Outcome
from conformance.nouns.probe import Probe
from refs.reference import Built, ClosedForm, Reference
from refs.subject import Subject

SHORT = 2
"""A reference that parts from itself within so many steps means nothing here."""
SEEDS = 5
SIGMAS = 4.0
"""How many standard errors two sides may be apart over the seeds. They are fixed: a verdict does not depend on luck."""
OVER_SEEDS = "adamw-seeds"
IN_BFLOAT16 = Regime(partial(AdamW, lr=1e-3, weight_decay=0.0, foreach=False))
"""Steps that bfloat16 cannot store beside 1, its spacing there being 0.0078: an adapter must keep them elsewhere."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Each regime from the reference's start, option sets from moved tensors, and over seeds from each side's own."""
    if isinstance(reference, ClosedForm) and reference.pullback is None:
        return ()
    exact = replace(SMALL, state="t0", batch=(8,), training=True)
    # A tensor that is stored as g - 1 decays to another g, and keeps other digits of it between two steps.
    of_size = entry.promises.offset
    asked = tuple(replace(exact, special=regime) for regime in REGIMES if not (of_size and regime == "adamw-decay"))
    low = replace(exact, dtype="bfloat16", adapter=None, batch=(16,), special=OVER_SEEDS)
    if isinstance(reference, ClosedForm) and reference.draw is not None and entry.method and entry.method.built:
        # A witness of the start: the main reference, trained from where the closed form says that it starts.
        return (*asked, *((low,) if reference.tells(low.settings) and not of_size else ()))
    if entry.method is None or reference is not entry.method.main:
        return asked
    moved = with_options(entry, replace(exact, state="perturbed", special="adamw"))
    # What chooses the start from data changes nothing about how it trains.
    options = tuple(probe for probe in moved if "calibration" not in dict(probe.options))
    # In bfloat16 the limit is the spread of the reference over seeds. A float64 formula has no such spread.
    return (*asked, *options, low) if isinstance(reference, Built) and not of_size else (*asked, *options)


def run(trial: Trial) -> Finding:
    """Train both sides and compare the ways that they went."""
    try:
        if trial.probe.special == OVER_SEEDS:
            return conclude(trial.case, _over_seeds(trial))
        return _side_by_side(trial, REGIMES[trial.probe.special])
    except SubjectFailed as failure:
        return raised(trial.case, str(failure))


def _side_by_side(trial: Trial, regime: Regime) -> Finding:
    form = trial.reference if isinstance(trial.reference, ClosedForm) else None
    values = trial.state(trial.reference_subject() if form is None else start(trial))
    taught = lessons(trial, regime)
    want = _reference_course(trial, form, values, taught, regime)
    subject = trial.subject(values=values)
    with asking_the_subject():
        got = train(subject, taught, regime)
    finding = conclude(trial.case, _compared(got, want))
    if finding.outcome is not Outcome.DIFFER:
        return finding
    # Only now, for it costs two more runs: how far is the reference's own course known?
    steps = _horizon(trial, form, values, taught, regime, want)
    if steps == STEPS:
        return finding
    if steps < SHORT:
        return replace(finding, fault=Fault.REFERENCE)
    return conclude(trial.case, _compared(got.until(steps), want.until(steps)))


def _reference_course(
    trial: Trial, form: ClosedForm | None, values: Mapping[str, Tensor], taught: Lessons, regime: Regime
) -> Course:
    if form is not None:
        return train_form(trial, form, values, taught, regime)
    return train(trial.reference_subject(values=values), taught, regime)


def _compared(got: Course, want: Course) -> list[Comparison]:
    """Losses, every tensor that trains, and what no step may change."""
    return [
        close(got.losses, want.losses, "loss in training"),
        close(got.held_out, want.held_out, "held-out loss in training"),
        *(close(got.tensors.get(name), values, f"{name} in training") for name, values in want.tensors.items()),
        *(same(unmoved, True, f"{name} after training", "bits") for name, unmoved in got.frozen.items()),
    ]


def _horizon(
    trial: Trial,
    form: ClosedForm | None,
    values: Mapping[str, Tensor],
    taught: Lessons,
    regime: Regime,
    want: Course,
) -> int:
    """For how many steps the reference stays with itself, within the limit of the comparison, when its start and its
    inputs move by ``NUDGE`` roundings.

    Rounding grows from step to step, and Adam divides a gradient that is zero but for rounding by its own size. Beyond
    these steps there is nothing to agree with; within them the limit is that of all float64 comparisons.
    """
    eps = NUDGE * torch.finfo(torch.float64).eps
    steps = STEPS
    for by in (eps, -eps):
        moved = {name: v * (1 + by * signs(v)) for name, v in values.items()}
        other = _reference_course(trial, form, moved, taught.nudged(by), regime)
        while steps and not all(c.agrees for c in _compared(other.until(steps), want.until(steps)) if c.numeric):
            steps -= 1
    return steps


def _over_seeds(trial: Trial) -> Iterator[Comparison]:
    """Each side from its own start, seed by seed on the same data: how far the loss falls, on the average.

    The limit is made of the reference's own spread: between two of its starts on the same data, and between two runs
    from one start, the second on inputs that are one spacing of the dtype away.
    """
    regime, build = IN_BFLOAT16, _started(trial)
    eps = torch.finfo(trial.x.dtype).eps
    apart, of_start, of_rounding = [], [], []
    for seed in range(SEEDS):
        taught = lessons(trial, regime, seed=seed)
        subject = trial.subject(seed=seed)
        with asking_the_subject():
            got = train(subject, taught, regime)
        want, other, nudged = (
            _fall(train(build(own), data, regime))
            for own, data in ((seed, taught), (SEEDS + seed, taught), (seed, taught.nudged(eps)))
        )
        apart.append(_fall(got) - want)
        of_start.append(other - want)
        of_rounding.append(nudged - want)
        unmoved = [name for name, kept in got.frozen.items() if not kept]
        yield same(unmoved, [], f"what does not train, seed {seed}")
    yield _within(apart, of_start, of_rounding)


def _started(trial: Trial) -> Callable[[int], Subject]:
    """The reference by seed: from its own start, or for a closed form the main one from the closed form's."""
    form, method = trial.reference, trial.entry.method
    if not isinstance(form, ClosedForm):
        return lambda seed: trial.reference_subject(seed=seed)
    assert method is not None
    beside = replace(trial, reference=method.main)

    def build(seed: int) -> Subject:
        started = own_start(trial, form, seed)
        assert started is not None
        return beside.reference_subject(seed=seed, values=started)

    return build


def _fall(course: Course) -> float:
    """How far the loss has fallen over the run, on a logarithmic scale."""
    few = len(course.losses) // 4
    return (course.losses[:few].mean() / course.losses[-few:].mean()).log().item()


def _within(apart: list[float], of_start: list[float], of_rounding: list[float]) -> Comparison:
    """The mean difference of the two sides: at most ``SIGMAS`` standard errors, by the reference's own spread."""
    spread = math.sqrt(_mean_square(of_start) + _mean_square(of_rounding))
    error, limit = abs(sum(apart) / len(apart)), SIGMAS * spread / math.sqrt(len(apart))
    return Comparison(
        "fall of the loss over seeds",
        len(apart),
        error <= limit,
        error,
        limit,
        got=f"{error:.2g} apart on the average",
        want=f"at most {limit:.2g}",
        numeric=True,
    )


def _mean_square(values: list[float]) -> float:
    return sum(value * value for value in values) / len(values)
