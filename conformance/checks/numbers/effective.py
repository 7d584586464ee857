"""The weight that a subject amounts to, measured by calling it: what it does to the unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from refs.subject import Subject


def effective_weight(subject: Subject, d_in: int) -> Tensor:
    """W' of y = W' x + b': ``(d_out, d_in)``, in float64. For a subject that is linear in its input."""
    with torch.no_grad():
        unit = torch.eye(d_in, dtype=torch.float64)
        return (subject(unit) - subject(torch.zeros_like(unit))).T


def middle(subject: Subject, d_in: int, right: str = "Vh") -> Tensor:
    """M of W' = W_res + U M diag(S) Vh, for the methods that have these factors: ``(r, r)``, in float64."""
    slots = subject.slots()
    U, S, V = (slots[name].value.double() for name in ("U", "S", right))
    added = effective_weight(subject, d_in) - subject.base.weight.detach().double()
    M: Tensor = torch.linalg.pinv(U) @ added @ torch.linalg.pinv(S[:, None] * V)
    return M
