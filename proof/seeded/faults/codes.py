"""Adapters on quantised layers: codes read as if they were weights, and refusals that are none."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from conformance.checks.use.packed import dequantised
from proof.seeded.fault import Seeded
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA
from variants.ia3_ff import IA3FF
from variants.lora import LoRA
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.spec import TensorSpec
from variants.runtime.state import weight_of


class DoRAReadsCodes(DoRA):
    """The bytes of a quantised weight for its numbers: norms come out, and are no norms."""

    def check_layer(self, layer: nn.Module) -> None:
        pass

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {
            **super().specs(config, d_in, d_out),
            "m": TensorSpec((d_out,), lambda _, layer: _bytes(layer).norm(dim=1)),
        }

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        b = layer.bias.to(self.A.dtype) if layer.bias is not None else 0
        V = _bytes(layer) + self.config.scale * self.B @ self.A
        factor = self.m / V.detach().norm(dim=1)
        return (b + factor * F.linear(x.to(V.dtype), V)).to(y.dtype)


class DeLoRAReadsCodes(DeLoRA):
    """Column norms of the bytes of a quantised weight; all that trains is computed rightly with them."""

    def check_layer(self, layer: nn.Module) -> None:
        pass

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        norms = TensorSpec((d_in,), lambda _, layer: _bytes(layer).norm(dim=0), buffer=True)
        return {**super().specs(config, d_in, d_out), "w": norms}


def _bytes(layer: nn.Module) -> Tensor:
    """A weight as it lies in memory, (d_out, d_in): two codes of 4 bits share a byte, and here a number too."""
    entries = weight_of(layer).detach().float().reshape(layer.out_features, -1)  # type: ignore[call-overload]
    return entries.repeat_interleave(layer.in_features // entries.shape[1], dim=1)  # type: ignore[operator]


class HRAReflectsCodes(HRA):
    """In half precision it multiplies with the weight once more, and takes the codes for it."""

    def check_layer(self, layer: nn.Module) -> None:
        pass

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        h = x.to(self.U.dtype)
        return (y + F.linear(self.reflect(h) - h, weight_of(layer).to(h.dtype))).to(y.dtype)


class PiSSADecomposesCodes(PiSSA):
    """No refusal of its own: it fails somewhere inside, and the user reads about shapes."""

    def check_layer(self, layer: nn.Module) -> None:
        pass


class LoRARefusesCodes(LoRA):
    """Refuses a quantised weight, though LoRA never looks at the weight."""

    def check_layer(self, layer: nn.Module) -> None:
        self.require_float_weight(layer)


class EVAUnpacksTheBase(EVA):
    """Gives the layer a dense weight in place of the codes: it computes the same, and the memory is gone."""

    def hook(self, layer: nn.Module) -> None:
        super().hook(layer)
        if isinstance(layer, nn.Linear) and not layer.weight.is_floating_point():
            layer.weight = nn.Parameter(dequantised(layer).float(), requires_grad=False)
            layer.forward = partial(_dense, layer)  # type: ignore[method-assign]


def _dense(layer: nn.Linear, x: Tensor) -> Tensor:
    b = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype), b)


class IA3FFWidensTheInput(IA3FF):
    """The gated input stays in the gate's float32, and so does the output of a layer that computes in bfloat16."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        wide = not weight_of(layer).is_floating_point()
        return x * self.g if wide else super().change_input(layer, x)


class ROADRoundsItsOutput(ROAD):
    """On a quantised layer it gives its output in 8 bits too."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        turned = super().change_output(layer, x, y)
        if weight_of(layer).is_floating_point():
            return turned
        step = turned.detach().abs().amax() / 127
        return turned + ((turned / step).round() * step - turned).detach()


KILLER = "quantised"

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(DoRAReadsCodes, "dora", KILLER),
    Seeded(DeLoRAReadsCodes, "delora", KILLER),
    Seeded(HRAReflectsCodes, "hra", KILLER, raises=True),
    Seeded(PiSSADecomposesCodes, "pissa", KILLER),
    Seeded(LoRARefusesCodes, "lora", KILLER, raises=True),
    Seeded(EVAUnpacksTheBase, "eva", KILLER),
    Seeded(IA3FFWidensTheInput, "ia3_ff", KILLER),
    Seeded(ROADRoundsItsOutput, "road", KILLER),
)
