"""Whether a small step of a float32 tensor arrives in the output of a bfloat16 layer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from conformance.measuring.compare import Comparison
from conformance.measuring.conditioning import signs
from conformance.measuring.trial import Trial, asking_the_subject

MANY_ROWS = (4096,)
SMALL_STEP = 2.0**-11
"""A step that bfloat16 rounds away: an eighth of its spacing."""
SEEN = 2.0**-14
"""A step that moves the output by a smaller share of its size is lost among the roundings of the output."""
STEP_FACTOR, STEP_SHARE = 1.5, 0.6
"""What scatter is allowed: some of the reference's own, and what the rounding of the outputs leaves over these rows."""


def reaches_the_output(trial: Trial, values: dict[str, Tensor]) -> list[Comparison]:
    """Does a small step of a float32 tensor move the outputs of a bfloat16 layer by what it should?

    One output cannot tell: it is rounded more coarsely than the step moves it. Over many rows that averages out, and
    what is left is whether the tensor itself was rounded on the way: then a step moves some outputs by a whole spacing
    and most by nothing. Per output, the share of the step that arrives is 1; its scatter is compared with the
    reference's own.
    """
    many = replace(trial, probe=replace(trial.probe, batch=MANY_ROWS))
    found = []
    subject, reference = many.subject(values=values), many.reference_subject(values=values)
    exact = replace(many, probe=replace(many.probe, adapter="float64"))
    with torch.no_grad():
        with asking_the_subject():
            own = subject(many.x).double()
        theirs, true = reference(many.x).double(), _output(exact, values)
        for name, slot in subject.slots().items():
            if name not in values or not slot.trainable or slot.value.dtype == many.x.dtype:
                continue
            moved = {**values, name: values[name] + SMALL_STEP * _steps(values[name])}
            change = _output(exact, moved) - true
            if change.abs().max() < SEEN * true.abs().max():
                continue
            many.load(subject, moved)
            many.load(reference, moved)
            with asking_the_subject():
                mine = _arrived(subject(many.x).double() - own, change)
            other = _arrived(reference(many.x).double() - theirs, change)
            many.load(subject, values)
            many.load(reference, values)
            limit = STEP_FACTOR * other + STEP_SHARE
            found.append(
                Comparison(
                    f"a step of {name} in the output",
                    change.shape[-1],
                    mine <= limit,
                    mine,
                    limit,
                    got=f"off by {mine:.2g} of the step",
                    want=f"at most {limit:.2g} (reference {other:.2g})",
                    numeric=True,
                )
            )
    return found


def _output(trial: Trial, values: dict[str, Tensor]) -> Tensor:
    """The reference's in float64."""
    y: Tensor = trial.reference_subject(trial.layer("float64"), values=values)(trial.x.double())
    return y


def _steps(value: Tensor) -> Tensor:
    """A direction for each number, of the tensor's own size."""
    return value.abs().clamp(min=value.abs().mean()) * signs(value)


def _arrived(change: Tensor, exact: Tensor) -> float:
    """How far the share of the step that arrives is from 1: root mean square over the outputs that it moves."""
    size = exact.square().sum(0)
    live = size > 0.01 * size.max()
    share = (change * exact).sum(0)[live] / size[live]
    return float((share - 1).square().mean().sqrt())
