"""Whether second derivatives mean anything at a point: a function may have a kink there, or a root of zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from conformance.checks.space.calling import answers, inputs
from conformance.measuring.conditioning import JUMP, NUDGE, signs
from conformance.measuring.trial import RESIDUAL, Trial


def at_a_kink(trial: Trial, values: Mapping[str, Tensor]) -> bool:
    """True when the reference's second derivatives are NaN, or jump when the tensors move by a few roundings.

    Zeros move too, by roundings of 1. AntiPaSTO's gain, ``1 + z`` above zero and ``exp(z)`` below, starts at such a
    point: its second derivative there is 0 or 1, as the code happens to be written.
    """
    pairs = inputs(trial)
    eps = NUDGE * torch.finfo(torch.float64).eps
    given = []
    for sign in (0.0, 1.0, -1.0):
        moved = {name: v if name == RESIDUAL else _moved(v, sign * eps) for name, v in values.items()}
        got = answers(trial, trial.reference_subject(values=moved), pairs)
        given.append([*got.of_inputs, *(got.grads[name] for name in sorted(got.grads))])
    return any(_jumps(*same_place) for same_place in zip(*given))


def _jumps(here: Tensor | None, *nearby: Tensor | None) -> bool:
    if here is None or not here.numel():
        return False
    if bool(here.isnan().any()):
        return True
    size = here.abs().max()
    return any(near is not None and bool((near - here).abs().max() > JUMP * size) for near in nearby)


def _moved(value: Tensor, by: float) -> Tensor:
    """Every number moved by the same share of its size; a zero by that share of 1, up or down with all others."""
    return torch.where(value == 0, torch.full_like(value, by), value * (1 + by * signs(value)))
