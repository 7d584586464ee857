"""Do the same tensors, and the input, get a gradient as in the reference, with the same values?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conformance.checks.check import SMALL, WIDE, with_dropout, with_options
from conformance.checks.numbers.dropout import same_distribution
from conformance.measuring.compare import Comparison, close, conclude, raised, same
from conformance.measuring.conditioning import blamed
from conformance.measuring.other_gradients import option_facts, recognised
from conformance.measuring.trial import Run, SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_both_ways
from conformance.measuring.witness import own_start, passes, start
from conformance.nouns.entry import Entry
from conformance.nouns.facts import FlowFacts, OptionFacts, SidePair
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

DEAD = 1e-10
"""A gradient is dead when it is below this share of the largest gradient (float64)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """t0 and perturbed, option sets, dropout and corner cases, against each layer."""
    if isinstance(reference, ClosedForm) and reference.pullback is None:
        return ()
    t0 = replace(SMALL, state="t0")
    return (
        t0,
        replace(WIDE, state="t0"),
        SMALL,
        WIDE,
        replace(SMALL, bias=False),
        replace(SMALL, special="strided", batch=(4, 5)),
        replace(SMALL, training=True),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
        *with_dropout(entry, reference),
        *(
            replace(probe, special=special)
            for probe in (SMALL, t0)
            for special in (() if isinstance(reference, ClosedForm) else entry.specials)
        ),
    )


def run(trial: Trial) -> Finding:
    """Compare gradients with equal tensors and, at t=0, which tensors get one at all."""
    form = trial.reference if isinstance(trial.reference, ClosedForm) else None
    values = trial.state(trial.reference_subject() if form is None else start(trial))
    sound = True
    try:
        comparisons, sound, other = _values(trial, values, form)
        facts: FlowFacts | OptionFacts | None = other
        if trial.probe.state == "t0":
            flow, facts = _flows(trial, values, form)
            comparisons.append(flow)
        finding = conclude(trial.case, comparisons, facts=facts, explained=recognised(other))
    except SubjectFailed as failure:
        finding = raised(trial.case, str(failure))
    return blamed(trial, values, finding) if sound else finding


def _values(
    trial: Trial, values: Mapping[str, Tensor], form: ClosedForm | None
) -> tuple[list[Comparison], bool, OptionFacts | None]:
    """The same tensors on both sides; whether the subject is sound: finite gradients where its output is finite; and
    how far both are from another gradient that the authors offer.
    """
    subject = trial.subject(values=values)
    if form is None:
        reference = trial.reference_subject(values=values)
        want = run_both_ways(reference, trial.x, trial.cotangent)
    else:
        want = passes(trial, form, values, x=trial.x, cotangent=trial.cotangent)
    with asking_the_subject():
        got = run_both_ways(subject, trial.x, trial.cotangent)
        alone = {} if trial.drops else _alone(trial, subject)
    scale = _scale(want)
    comparisons = [close(got.grad_x, want.grad_x, "gradient of x")]
    # As in the first layer of a model, whose input asks for no gradient.
    comparisons += [close(g, got.grads[name], f"gradient of {name} alone", scale=scale) for name, g in alone.items()]
    for name, grad in want.grads.items():
        floor = None if grad is not None and not _is_dead(grad, scale) else scale
        comparisons.append(close(got.grads.get(name), grad, f"gradient of {name}", scale=floor))
    if trial.drops and form is None and not all(c.agrees for c in comparisons):
        comparisons = same_distribution(trial, subject, reference, gradients=True)
    comparisons.append(same(sorted(got.grads), sorted(want.grads), "tensors that train"))
    comparisons.append(same(_base_grads(subject), {}, "gradients of the base"))
    answered = bool(got.y.isfinite().all())
    grads = [g for g in (got.grad_x, *got.grads.values()) if g is not None]
    sound = not answered or all(bool(g.isfinite().all()) for g in grads)
    odd = trial.drops or trial.probe.special in trial.entry.specials
    return comparisons, sound, None if odd else option_facts(trial, values, got, want)


def _alone(trial: Trial, subject: Subject) -> dict[str, Tensor | None]:
    """Gradients of the tensors where x asks for none."""
    for leaf in subject.leaves().values():
        leaf.grad = None
    y = subject(trial.x.detach())
    if y.requires_grad:
        torch.autograd.backward(y, trial.cotangent.reshape(y.shape).to(y.dtype))
    return {name: slot.grad for name, slot in subject.slots().items() if slot.trainable}


def _flows(trial: Trial, values: Mapping[str, Tensor], form: ClosedForm | None) -> tuple[Comparison, FlowFacts]:
    """Each side from its own start: where does the gradient flow at first?

    A closed form that does not determine the start is asked at the subject's own: what it says then is named apart, so
    that it is no witness for a wrong start.
    """
    started = None if form is None else _regular_start(trial, form)
    with asking_the_subject():
        own = _flow(run_both_ways(trial.subject(), trial.x, trial.cotangent))
    if form is None:
        theirs = _flow(run_both_ways(trial.reference_subject(), trial.x, trial.cotangent))
    else:
        theirs = _flow(passes(trial, form, started or values, x=trial.x, cotangent=trial.cotangent))
    names = sorted({*own, *theirs})
    facts = FlowFacts(tuple(SidePair(name, own.get(name, "none"), theirs.get(name, "none")) for name in names))
    free = form is not None and started is None
    return same(own, theirs, "dead or live at own initial values" if free else "dead or live at t=0"), facts


def _regular_start(trial: Trial, form: ClosedForm) -> dict[str, Tensor] | None:
    """The form's own start, if it has a gradient there: equal rows cannot be orthonormalised."""
    started = own_start(trial, form)
    try:
        if started is not None:
            passes(trial, form, started, x=trial.x, cotangent=trial.cotangent)
    except np.linalg.LinAlgError:
        return None
    return started


def _scale(run: Run) -> float:
    grads = [g[g.isfinite()] for g in (run.grad_x, *run.grads.values()) if g is not None]
    return max((g.abs().max().item() for g in grads if g.numel()), default=0.0)


def _is_dead(grad: Tensor | None, scale: float) -> bool:
    return grad is None or grad.abs().max().item() <= DEAD * scale


def _flow(run: Run) -> dict[str, str]:
    """``dead`` or ``live`` per trainable tensor, and ``x`` for the input."""
    scale = _scale(run)
    return {name: "dead" if _is_dead(g, scale) else "live" for name, g in {**run.grads, "x": run.grad_x}.items()}


def _base_grads(subject: Subject) -> dict[str, str]:
    of_layer = {"weight": subject.base.weight, "bias": subject.base.bias}
    return {name: "not None" for name, p in of_layer.items() if p is not None and p.grad is not None}
