"""IA3, correctly, in other words."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from refs.settings import Settings
from refs.subject import FLAT
from variants.ia3 import IA3
from variants.ia3_ff import IA3FF


class IA3InPlace(IA3):
    """y.mul_(g) where both have one dtype: autograd keeps the copy it needs, and y is nobody else's."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y.mul_(self.g) if y.dtype == self.g.dtype else super().change_output(layer, x, y)


class IA3OnTheWeight(IA3):
    """diag(g) W and g * b in place of a gate on y."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        g = self.g.to(torch.promote_types(self.g.dtype, y.dtype))
        bias = None if layer.bias is None else layer.bias * g
        return F.linear(x.to(g.dtype), layer.weight * g[:, None], bias).to(y.dtype)


class IA3AsColumn(Wrapper):
    """A plain module that stores the gate as a column (d_out, 1) and multiplies by a diagonal matrix."""

    names: ClassVar = {"g": ("gate", FLAT)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        return {"gate": torch.ones(len(W), 1)}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        wide = torch.promote_types(self.gate.dtype, y.dtype)
        return (y.to(wide) @ torch.diag(self.gate.to(wide).squeeze(1))).to(y.dtype)


class IA3FFOnTheWeight(IA3FF):
    """W diag(g) x + b, by the change of the weight on top of y."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        g = self.g.to(torch.promote_types(self.g.dtype, y.dtype))
        return (y + F.linear(x.to(g.dtype), layer.weight * (g - 1))).to(y.dtype)


class IA3AsChange(IA3):
    """y + y (g - 1): what the gate changes is added."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        g = self.g.to(torch.promote_types(self.g.dtype, y.dtype))
        return (y + y * (g - 1)).to(y.dtype)


class IA3FFByEinsum(IA3FF):
    """W, g and x meet in one einsum, in at least the gate's dtype, and the layer's own product is dropped."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(self.g.dtype, y.dtype)
        out = torch.einsum("oi,i,...i->...o", layer.weight.to(wide), self.g.to(wide), x.to(wide))
        return (out if layer.bias is None else out + layer.bias).to(y.dtype)


class IA3FFAsRow(Wrapper):
    """A plain module that stores the gate as a row (1, d_in) and gates what the layer is called with."""

    names: ClassVar = {"g": ("gate", FLAT)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        return {"gate": torch.ones(1, W.shape[1])}

    def forward(self, x: Tensor) -> Tensor:
        gated = torch.mul(x, self.gate.squeeze(0)).to(x.dtype)
        return F.linear(gated, self.inner.weight, self.inner.bias)
