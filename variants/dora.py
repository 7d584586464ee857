"""Weight-decomposed low-rank update (DoRA, Liu et al. 2024, arXiv 2402.09353).

    V  = W + s B A
    y' = b + (m / |V|_row) * (V x)        A: (r, d_in), B: (d_out, r), m: (d_out,), s = alpha / r

The bias is not scaled. |V|_row is a constant for the gradient (section 4.3 of the paper). With dropout, x is dropped
for all of V, while the plain W x + b underneath keeps the whole x, as in peft:

    y' = W x + b + (m / |V|_row) * (V drop(x)) - W drop(x)

A row of V that is exactly zero keeps the factor 1 (m / |V| would be 0 / 0).

Identity at t=0: B = 0 and m = |W|_row. A gets no gradient in the first step; B and m do.
Reference: ``peft.tuners.lora.dora.DoraLinearLayer``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.lora import LoRAConfig
from variants.runtime.adapter import Adapter, row_norm
from variants.runtime.spec import TensorSpec
from variants.runtime.state import weight_of


class DoRAConfig(LoRAConfig):
    """The options of LoRA."""


def _row_norm_of_base(shape: torch.Size, layer: nn.Module) -> Tensor:
    weight = weight_of(layer)
    return row_norm(weight.detach().to(torch.promote_types(weight.dtype, torch.float32)))


class DoRA(Adapter):
    """See the module's docstring."""

    name = "dora"
    Config = DoRAConfig
    config: DoRAConfig
    A: Tensor
    B: Tensor
    m: Tensor

    @classmethod
    def specs(cls, config: DoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {
            "A": TensorSpec((config.r, d_in), config.initial_A),
            "B": TensorSpec((d_out, config.r)),
            "m": TensorSpec((d_out,), _row_norm_of_base),
        }

    def check_layer(self, layer: nn.Module) -> None:
        self.require_float_weight(layer)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dtype = self.A.dtype
        W = weight_of(layer).to(dtype)
        s = self.config.scale
        with torch.no_grad():
            norm = row_norm(W + s * (self.B @ self.A))
        # Divide by 1 where a row is zero: dividing by its norm first would send NaN back to m.
        factor = torch.where(norm > 0, self.m / torch.where(norm > 0, norm, 1), 1)

        dropped = F.dropout(x.to(dtype), self.config.dropout, self.training)
        if self.training and self.config.dropout > 0:
            Wx = F.linear(dropped, W)
        else:
            b: Tensor | None = getattr(layer, "bias", None)
            Wx = y.to(dtype) if b is None else y.to(dtype) - b.to(dtype)
        update = s * F.linear(F.linear(dropped, self.A), self.B)
        return (y + (factor - 1) * Wx + factor * update).to(y.dtype)
