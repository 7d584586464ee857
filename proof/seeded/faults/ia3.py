"""IA3 computed wrongly, the output gate and the input gate of feed-forward layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from variants.ia3 import IA3, IA3Config
from variants.ia3_ff import IA3FF, IA3FFConfig
from variants.runtime.adapter import Adapter
from variants.runtime.spec import TensorSpec


class IA3GateBeforeTheBias(IA3):
    """(W x) * g + b: the bias is not gated. Right for the models of the paper, which have none there."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y) + (0 if layer.bias is None else layer.bias * (1 - self.g))


class IA3GateOnTheInput(IA3):
    """Keys and values are gated on the input side."""

    @classmethod
    def specs(cls, config: IA3Config, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_in,), "ones")}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.linear(x * self.g, layer.weight, layer.bias)


class IA3GateInBf16(IA3):
    """The gate is kept in the layer's dtype: at 1, bfloat16 loses every small step. Found in real code."""

    def __init__(self, config: IA3Config, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        self.to(layer.weight.dtype)


class IA3GateAsDelta(IA3):
    """y * (1 + g) with g started at zero: the same function at t=0, another tensor under the same name."""

    @classmethod
    def specs(cls, config: IA3Config, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_out,), "zeros")}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * (1 + self.g)).to(y.dtype)


class IA3NearOne(IA3):
    """The gate starts at 1 + N(0, 1e-4) in place of exactly 1."""

    @classmethod
    def specs(cls, config: IA3Config, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_out,), "near_one")}


class IA3DeadGate(IA3):
    """The gate is read through .data: exact output, no gradient."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g.data).to(y.dtype)


class IA3CutsTheInputGradient(IA3):
    """The frozen layer runs under no_grad: the gate trains, layers below do not."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.detach())


class IA3OneGateForAll(IA3):
    """One scalar gate for the whole layer in place of one per output."""

    @classmethod
    def specs(cls, config: IA3Config, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((1,), "ones")}


class IA3UsesTheFirstGate(IA3):
    """g[0] gates everything: the tensor as a whole has its influence, and nineteen of its numbers have none."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g[0]).to(y.dtype)


class IA3SideByShape(IA3):
    """The gate goes wherever its length fits, the input first: the wrong side of every square layer."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if len(self.g) != self.d_in:
            return super().change_output(layer, x, y)
        return nn.functional.linear((x * self.g).to(x.dtype), layer.weight, layer.bias)


class IA3OffInTraining(IA3):
    """The gate acts at inference only."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y if self.training else super().change_output(layer, x, y)


class IA3FFGateOnTheOutput(IA3FF):
    """The feed-forward gate sits on the output, g: (d_out,). Found in real code."""

    change_input = Adapter.change_input

    @classmethod
    def specs(cls, config: IA3FFConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_out,), "ones")}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g).to(y.dtype)


class IA3FFGatesTheBias(IA3FF):
    """The bias is taken into the gated input as a constant feature of weight mean(g)."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y if layer.bias is None else y + (self.g.mean() - 1) * layer.bias


class IA3FFGateInPlace(IA3FF):
    """x.mul_(g): the residual stream that x comes from is gated too."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x.mul_(self.g)


class IA3FFGateInPlaceBehindAutograd(IA3FF):
    """The same through .data, which autograd does not notice."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        gated = (x * self.g).to(x.dtype)
        x.data.copy_(gated)
        return gated


class IA3FFFloat32Inside(IA3FF):
    """The gated input stays in float32, which a half-precision layer refuses."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x * self.g


class IA3FFNormalised(IA3FF):
    """The gate is divided by its mean: the identity at t=0, and blind to a common factor of all gates."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x * (self.g / torch.mean(self.g))).to(x.dtype)


class IA3FFDeadGate(IA3FF):
    """The gate is read through .data: exact output, no gradient."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x * self.g.data).to(x.dtype)


class IA3FFCutsTheInputGradient(IA3FF):
    """x is detached: the gate trains, layers below do not."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x.detach() * self.g).to(x.dtype)


class IA3FFGateAsDelta(IA3FF):
    """x * (1 + g) with g started at zero: the same function at t=0, another tensor under the same name."""

    @classmethod
    def specs(cls, config: IA3FFConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_in,), "zeros")}

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x * (1 + self.g)).to(x.dtype)


class IA3FFGateInBf16(IA3FF):
    """The gate is kept in the layer's dtype: at 1, bfloat16 loses every small step."""

    def __init__(self, config: IA3FFConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        self.to(layer.weight.dtype)
