"""The two products with a thin matrix that the methods are made of, each in one pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 256
"""How many rows of a weight are held in a wider dtype at a time."""


def plus_product(y: Tensor, h: Tensor, M: Tensor, scale: float = 1.0) -> Tensor:
    """``y + scale h M`` for rows ``y: (..., d)`` and ``h: (..., r)``, with ``M: (r, d)``; not rounded to y's dtype.

    Sum and product are one kernel, and the scale costs nothing of y's size.
    """
    if y.dtype != h.dtype:  # the mixed sum casts as it goes
        return y + (h * scale) @ M
    if y.dim() == 2:
        return torch.addmm(y, h, M, alpha=scale)
    rows = torch.addmm(y.reshape(-1, y.shape[-1]), h.reshape(-1, h.shape[-1]), M, alpha=scale)
    return rows.view(y.shape)


def through_weight(h: Tensor, W: Tensor) -> Tensor:
    """``h W^T`` for few rows ``h: (r, d_in)``, in the dtype of h: a W that is narrower is never cast as a whole."""
    if W.dtype == h.dtype:
        return F.linear(h, W)
    wide: Tensor = _ThroughNarrow.apply(h, W)  # type: ignore[no-untyped-call]
    return wide


class _ThroughNarrow(torch.autograd.Function):
    """``h W^T`` and its gradients, some rows of W at a time."""

    @staticmethod
    def forward(h: Tensor, W: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([F.linear(h, rows.to(h.dtype)) for rows in W.split(ROWS)], dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # type: ignore[override]
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        h, W = ctx.saved_tensors
        parts = zip(grad.split(ROWS, dim=-1), W.split(ROWS))
        of_h = (
            sum((g @ rows.to(g.dtype) for g, rows in parts), start=grad.new_zeros(()))
            if ctx.needs_input_grad[0]
            else None
        )
        of_W = (grad.mT @ h).to(W.dtype) if ctx.needs_input_grad[1] else None
        return of_h, of_W
