"""In lower precision: is a difference the reference's own, which it has from the closed form in float64 already?

A closed form does not say how much rounding is allowed, so the plan does not ask it there. Where a layer of the
reference rounds beside it, that is known: its own error against itself in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.space.calling import Answers, as_doubles, mark, of_the_form
from conformance.checks.space.compared import as_near, equal
from conformance.measuring.conditioning import signs
from conformance.measuring.trial import Trial
from conformance.nouns.finding import Fault, Finding, Outcome
from refs.reference import Built, ClosedForm


def may_answer(trial: Trial, finding: Finding) -> bool:
    """Whether values alone differ from a layer, in lower precision, in calls of which a closed form has the answers."""
    probe, form = trial.probe, _form(trial)
    exact = probe.dtype == probe.adapter == "float64"
    values = all(not thing.aspect for thing in finding.differing)
    asked = isinstance(trial.reference, Built) and form is not None and form.covers(probe.settings)
    unusual = trial.drops or mark(trial, "calls") == "double"
    differs = finding.outcome is Outcome.DIFFER and finding.fault is Fault.SUBJECT and values and not finding.raised
    return differs and asked and not exact and not unusual


def blamed_by_the_form(
    trial: Trial,
    finding: Finding,
    values: Mapping[str, Tensor],
    pairs: list[tuple[Tensor, Tensor]],
    *,
    got: Answers,
    want: Answers,
    truth: Answers,
) -> Finding:
    """The finding; with the reference at fault if, in all that differs, it is not the closed form in float64
    (``truth``), and the subject (``got``) is as near to that as the reference (``want``) is to itself in float64.
    """
    form, differing = _form(trial), {thing.name for thing in finding.differing}
    assert form is not None
    told = of_the_form(trial, form, values, as_doubles(pairs))
    wrong = {c.what for c in equal(truth, told) if not c.agrees}
    eps = torch.finfo(torch.float32).eps
    near = [(x * (1 + eps * signs(x)), c * (1 + eps * signs(c))) for x, c in as_doubles(pairs)]
    moved = of_the_form(trial, form, {name: v * (1 + eps * signs(v)) for name, v in values.items()}, near)
    beside = list(as_near(trial, got, _with_the_rounding(told, want, truth), told, moved))
    right = {c.what for c in beside} - {c.what for c in beside if not c.agrees}
    if not differing <= wrong & right:
        return finding
    names = ", ".join(thing.name for thing in finding.differing)
    text = (
        f"In `{trial.reference.id}`, wrong: {names}. In float64, too, it differs from the closed form. The variant "
        "agrees with that up to the reference's own rounding."
    )
    return replace(finding, fault=Fault.REFERENCE, at_fault=text)


def _form(trial: Trial) -> ClosedForm | None:
    form = trial.entry.method.closed if trial.entry.method is not None else None
    return form if form is not None and form.pullback is not None else None


def _with_the_rounding(told: Answers, want: Answers, truth: Answers) -> Answers:
    """The closed form's answers with the rounding errors of the reference."""
    return Answers(
        [_moved(*three) for three in zip(told.outputs, want.outputs, truth.outputs)],
        [_maybe(*three) for three in zip(told.of_inputs, want.of_inputs, truth.of_inputs)],
        {name: _maybe(told.grads.get(name), grad, truth.grads.get(name)) for name, grad in want.grads.items()},
    )


def _maybe(told: Tensor | None, want: Tensor | None, truth: Tensor | None) -> Tensor | None:
    return None if told is None or want is None or truth is None else _moved(told, want, truth)


def _moved(told: Tensor, want: Tensor, truth: Tensor) -> Tensor:
    return (told + (want.double() - truth)).to(want.dtype)
