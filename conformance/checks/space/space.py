"""Same outputs and gradients for every pair of settings: dtype, size, shape, mode, history, options, way of calling?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.numbers.dropout import same_distribution
from conformance.checks.space.calling import Answers, answers, as_doubles, gradients, inputs, mark, of_the_form
from conformance.checks.space.compared import as_near, equal
from conformance.checks.space.kinks import at_a_kink
from conformance.checks.space.lives import brought_up, draws_anew, left_behind, merged, stored
from conformance.checks.space.witnessed import blamed_by_the_form, may_answer
from conformance.measuring.compare import Comparison, close, conclude, holds, raised, same
from conformance.measuring.conditioning import blamed, signs
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject, rounded
from conformance.nouns.entry import Entry
from conformance.nouns.finding import SECOND, Fault, Finding, Outcome
from conformance.nouns.probe import Probe
from conformance.space.coverage import coverage
from conformance.space.points import COVERAGE, probes_of
from refs.reference import Built, ClosedForm, Reference
from refs.subject import Subject

DRAWS = 8
"""How many times a point in low precision is asked where the first time shows a larger error."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """A covering array over the space of uses: every pair of values is in one point at least."""
    return probes_of(entry, reference)


def run(trial: Trial) -> Finding:
    """Make the calls of the point on both sides with equal tensors; compare outputs, gradients and what is left."""
    if trial.probe.label == COVERAGE:
        return _coverage(trial)
    values: dict[str, Tensor] = {}
    try:
        subject = brought_up(trial)
        values, reference = _known(trial, stored(subject))
        finding = conclude(trial.case, list(_compared(trial, subject, reference, values)))
        if _only_second(finding) and at_a_kink(trial, values):
            return replace(finding, fault=Fault.REFERENCE)
    except SubjectFailed as failure:
        finding = raised(trial.case, str(failure))
    finding = blamed(trial, values, finding) if values else finding
    return _witnessed(trial, finding) if may_answer(trial, finding) else finding


def _witnessed(trial: Trial, finding: Finding) -> Finding:
    """A difference in lower precision, where the plan asks no closed form: is the reference wrong in float64, too?"""
    subject = brought_up(trial)
    (values, reference), pairs = _known(trial, stored(subject)), inputs(trial)
    assert reference is not None, "asked of layers alone"
    with asking_the_subject():
        got = answers(trial, subject, pairs, own=True)
    want = answers(trial, reference, pairs)
    _, _, truth, _ = _rounded(trial, values, pairs, got, want)
    return blamed_by_the_form(trial, finding, values, pairs, got=got, want=want, truth=truth)


def _only_second(finding: Finding) -> bool:
    """Whether nothing but second derivatives differs."""
    return bool(finding.differing) and all(compared.aspect == SECOND for compared in finding.differing)


def _coverage(trial: Trial) -> Finding:
    """Every value and every pair is in a point or has an excuse; else nothing is proven."""
    facts = coverage(trial.entry)
    if facts.missing:
        told = f"{len(facts.missing)} not: {facts.missing[0]}"
        what, want = "coverage of the space", "every value of every axis covered or excused"
        return Finding(trial.case, Outcome.ERROR, what=what, got=told, want=want, facts=facts)
    return replace(
        conclude(trial.case, [holds(True, "pairs of values", "covered", "covered", n=facts.pairs)]), facts=facts
    )


def _known(trial: Trial, values: dict[str, Tensor]) -> tuple[dict[str, Tensor], Subject | None]:
    """The values that the reference has tensors for, as it stores them, and the reference that has them, if it is a
    layer.
    """
    if not isinstance(trial.reference, Built):
        return values, None
    reference = trial.reference_subject()
    known = rounded(values, reference)
    trial.load(reference, known)
    return known, reference


def _compared(
    trial: Trial, subject: Subject, reference: Subject | None, values: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    pairs = inputs(trial)
    copies = [(x.clone(), c.clone()) for x, c in pairs]
    with asking_the_subject(), merged(trial, subject) if mark(trial, "life") == "folded" else nullcontext():
        got = answers(trial, subject, pairs, own=True)
        state = torch.get_rng_state()
    for (x, c), (x0, c0) in zip(pairs, copies):
        yield _untouched(x, x0, "the caller's x after the calls")
        yield _untouched(c, c0, "the cotangent after the backward")
    if not (trial.probe.training and trial.probe.settings.option("dropout", 0.0)):
        yield same(torch.equal(state, _unused()), True, "global generator after calls that draw nothing")
    base = {name: True for name, p in subject.base_parameters().items() if p.grad is not None}
    yield same(base, {}, "gradients of the base")
    yield from _as_the_reference(trial, subject, reference, values, copies, got)
    if trial.probe.state == "t0":
        yield draws_anew(trial)
    kept = trial.layer().weight.detach() if mark(trial, "life") != "written" else None
    yield from left_behind(trial, subject, kept)


def _unused() -> Tensor:
    from conformance.measuring.trial import DROPOUT_SEED

    return torch.Generator().manual_seed(DROPOUT_SEED).get_state()


def _untouched(now: Tensor, before: Tensor, what: str) -> Comparison:
    if torch.equal(now, before):
        return Comparison(what, 0, True)  # nothing counts as compared that could not differ by rounding
    return same(False, True, what)


def _as_the_reference(
    trial: Trial,
    subject: Subject,
    reference: Subject | None,
    values: Mapping[str, Tensor],
    pairs: list[tuple[Tensor, Tensor]],
    got: Answers,
) -> Iterator[Comparison]:
    if isinstance(trial.reference, ClosedForm):
        yield from equal(got, of_the_form(trial, trial.reference, values, pairs))
        return
    reference = trial.reference_subject(values=values) if reference is None else reference
    want = answers(trial, reference, pairs)
    if trial.probe.dtype == trial.probe.adapter == "float64":
        comparisons = [_second(c) if mark(trial, "calls") == "double" else c for c in equal(got, want)]
    else:
        four = _rounded(trial, values, pairs, got, want)
        comparisons = list(as_near(trial, *four))
        if not all(c.agrees for c in comparisons):
            comparisons = list(as_near(trial, *_pooled(trial, four)))
    if trial.drops and not all(c.agrees for c in comparisons) and _other_masks(trial, values, pairs):
        comparisons = same_distribution(trial, subject, reference, gradients=gradients(trial))
    yield from comparisons


def _other_masks(trial: Trial, values: Mapping[str, Tensor], pairs: list[tuple[Tensor, Tensor]]) -> bool:
    """Whether the subject draws other numbers than the reference, in float64, where nothing is rounded."""
    plain = tuple(pair for pair in trial.probe.point if pair[0] not in ("autocast", "life"))
    exact = replace(trial, probe=replace(trial.probe, dtype="float64", adapter="float64", point=plain))
    subject = brought_up(exact)
    exact.load(subject, values)
    with asking_the_subject():
        got = answers(exact, subject, as_doubles(pairs), own=True)
    want = answers(exact, exact.reference_subject(values=values), as_doubles(pairs))
    return not all(close(y, z, "output").agrees for y, z in zip(got.outputs, want.outputs))


def _second(comparison: Comparison) -> Comparison:
    """Of a gradient penalty, every gradient depends on all first derivatives."""
    is_gradient = comparison.what.startswith("gradient of") and not comparison.aspect
    return replace(comparison, aspect=SECOND) if is_gradient else comparison


Four = tuple[Answers, Answers, Answers, Answers]
"""What the subject gives, what the reference gives in the same precision and in float64, and there a rounding away."""


def _rounded(
    trial: Trial,
    values: Mapping[str, Tensor],
    pairs: list[tuple[Tensor, Tensor]],
    got: Answers,
    want: Answers,
) -> Four:
    exact = replace(trial, probe=replace(trial.probe, adapter="float64"))
    reference = exact.reference_subject(trial.layer("float64"))
    truth, nudged = (_exact(exact, reference, values, pairs, by) for by in (0.0, torch.finfo(torch.float32).eps))
    return got, want, truth, nudged


def _pooled(trial: Trial, first: Four) -> Four:
    """The same point with other numbers, together: of few numbers, the size of one error is mostly chance."""
    drawn = [first]
    for seed in range(1, DRAWS):
        other = replace(trial, probe=replace(trial.probe, seed=trial.probe.seed + seed))
        subject = brought_up(other)
        values, reference = _known(other, stored(subject))
        assert reference is not None, "in low precision the reference is a layer"
        pairs = inputs(other)
        with asking_the_subject():
            got = answers(other, subject, pairs, own=True)
        want = answers(other, reference, pairs)
        drawn.append(_rounded(other, values, pairs, got, want))
    one, two, three, four = (_stacked(list(each)) for each in zip(*drawn))
    return one, two, three, four


def _stacked(several: list[Answers]) -> Answers:
    return Answers(
        [torch.stack(each) for each in zip(*(a.outputs for a in several))],
        [_all(list(each)) for each in zip(*(a.of_inputs for a in several))],
        {name: _all([a.grads.get(name) for a in several]) for name in several[0].grads},
    )


def _all(tensors: list[Tensor | None]) -> Tensor | None:
    there = [t for t in tensors if t is not None]
    return torch.stack(there) if len(there) == len(tensors) else None


def _exact(
    exact: Trial, reference: Subject, values: Mapping[str, Tensor], pairs: list[tuple[Tensor, Tensor]], nudge: float
) -> Answers:
    """What the reference gives in float64, for inputs and tensors that are moved by the share ``nudge``."""
    exact.load(reference, {name: value * (1 + nudge * signs(value)) for name, value in values.items()})
    moved = [tuple(t * (1 + nudge * signs(t)) for t in pair) for pair in as_doubles(pairs)]
    return answers(exact, reference, [(x, c) for x, c in moved], autocast=False)
