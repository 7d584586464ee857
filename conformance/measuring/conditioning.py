"""Whether a reference means anything at a point: how far does rounding of what it is given move what it gives?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.measuring.trial import Trial, run
from conformance.nouns.finding import Fault, Finding, Outcome
from refs.calibration import nudged
from refs.reference import Built
from refs.subject import Subject

NUDGE = 16
"""Size of the nudge in units of eps, relative to each number."""
JUMP = 1e-6
"""A move of the output beyond this share of its size is not rounding any more (float64)."""


def blamed(trial: Trial, values: Mapping[str, Tensor], finding: Finding) -> Finding:
    """The finding; a difference (or an error) where the reference is ill-posed is the reference's fault."""
    if finding.outcome is Outcome.DIFFER and isinstance(trial.reference, Built) and ill_posed(trial, values):
        return replace(finding, fault=Fault.REFERENCE)
    return finding


def ill_posed(trial: Trial, values: Mapping[str, Tensor]) -> bool:
    """True when the reference gives NaN at these tensors, or another output after a nudge by a few roundings.

    There is then nothing to agree with: 0 / 0 and Gram-Schmidt on parallel vectors are such points.
    """
    eps = torch.finfo(torch.float64).eps
    outputs = []
    for sign in (0.0, 1.0, -1.0):
        nudged = {name: trial.moved(name, v, 0) * (1 + sign * NUDGE * eps * signs(v)) for name, v in values.items()}
        outputs.append(run(trial.reference_subject(values=nudged), trial.x, trial.cotangent, backward=False).y)
    if not outputs[0].numel():
        return False
    if any(y.isnan().any() for y in outputs):
        return True
    size = outputs[0].abs().max()
    return any(bool((y - outputs[0]).abs().max() > JUMP * size) for y in outputs[1:])


def moved_by_rounding(
    trial: Trial, read: Callable[[Subject], Mapping[str, Tensor]], *, on_data: bool = False
) -> dict[str, float]:
    """How far the reference's fresh start moves when its weight, or its calibration inputs, move by ``NUDGE`` roundings
    of float32, number by number.

    A decomposition in that precision is known no better: what it returns is exact for a matrix some roundings away, and
    where two singular values are close, each correct algorithm finds other vectors.
    """
    eps = NUDGE * torch.finfo(torch.float32).eps
    starts = []
    for of_weight, of_inputs in ((0.0, 0.0), (eps, 0.0), (-eps, 0.0), *(((0.0, eps), (0.0, -eps)) if on_data else ())):
        layer = trial.layer()
        layer.weight.data.mul_(1 + of_weight * signs(layer.weight))
        with nudged(of_inputs):
            starts.append(read(trial.reference_subject(layer)))
    return {
        name: max((other[name].double() - value.double()).abs().max().item() for other in starts[1:])
        for name, value in starts[0].items()
    }


def signs(t: Tensor) -> Tensor:
    """A fixed pattern of +1 and -1."""
    return (torch.arange(t.numel(), dtype=t.dtype).reshape(t.shape) * 2.399963).sin().sign()
