"""The two products with a thin matrix that the methods are made of, without copies of what is large."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 32
"""How many rows of an activation or a weight are held in a wider dtype at a time, on the CPU."""


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


def thin_product(x: Tensor, A: Tensor) -> Tensor:
    """``x A^T`` for rows ``x: (..., d)`` and ``A: (r, d)``, in the dtype of A; another x is never cast as a whole."""
    if x.dtype == A.dtype:
        return F.linear(x, A)
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) <= ROWS:
        return F.linear(x.to(A.dtype), A)
    h: Tensor = _ThinProduct.apply(rows, A)  # type: ignore[no-untyped-call]
    return h.view(*x.shape[:-1], len(A))


class _ThinProduct(torch.autograd.Function):
    """``x A^T``, which keeps x as it is for the backward and casts some rows at a time, once more there."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, A: Tensor) -> Tensor:
        return torch.cat([F.linear(rows.to(A.dtype), A) for rows in _parts(x)])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, A = ctx.saved_tensors
        grad = grad.to(A.dtype)  # under autocast it is in another
        of_x = torch.cat([(g @ A).to(x.dtype) for g in _parts(grad)]) if ctx.needs_input_grad[0] else None
        of_A = None
        if ctx.needs_input_grad[1]:
            of_A = torch.zeros_like(A)
            for g, rows in zip(_parts(grad), _parts(x)):
                of_A = of_A + g.t() @ rows.to(A.dtype)
        return of_x, of_A


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.split(x, ROWS if x.device.type == "cpu" else len(x))
    return parts
