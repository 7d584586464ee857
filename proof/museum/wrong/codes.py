"""Adapters on quantised layers: codes read as if they were weights, and refusals that are none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.museum.exhibit import Exhibit
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
    """Norms of whatever the weight holds, with nobody to ask what that is."""

    def check_layer(self, layer: nn.Module) -> None:
        pass


class DeLoRAReadsPackedCodes(DeLoRA):
    """The bytes of a 4-bit weight, two codes each, in the shape of half a weight: norms come out, and are no norms."""

    def check_layer(self, layer: nn.Module) -> None:
        pass

    @classmethod
    def specs(cls, config, d_in: int, d_out: int) -> dict[str, TensorSpec]:  # type: ignore[no-untyped-def]
        return {**super().specs(config, d_in, d_out), "w": TensorSpec((d_in,), _column_norm_of_bytes, buffer=True)}


def _column_norm_of_bytes(shape: torch.Size, layer: nn.Module) -> Tensor:
    entries = weight_of(layer).detach().float().reshape(layer.out_features, -1)  # type: ignore[call-overload]
    return entries.norm(dim=0).repeat_interleave(shape[0] // entries.shape[1])


class HRAReflectsCodes(HRA):
    """In half precision it multiplies with the weight once more, and takes the codes for it."""

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
        if not weight_of(layer).is_floating_point():
            from conformance.packed import dequantised

            layer.weight = nn.Parameter(dequantised(layer).float(), requires_grad=False)  # type: ignore[arg-type]
            layer.forward = lambda x: F.linear(x, layer.weight.to(x.dtype), layer.bias)  # type: ignore[method-assign]


class IA3FFWidensTheInput(IA3FF):
    """The gated input stays in the gate's float32, and so does the output of a layer that computes in bfloat16."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        wide = not weight_of(layer).is_floating_point()
        return x * self.g if wide else super().change_input(layer, x)


class ROADScalesTheCodes(ROAD):
    """Turns a quantised layer's output in the dtype of its codes' scales, and rounds each product to 8 bits."""

    def columns(self) -> tuple[Tensor, Tensor]:
        c1, c2 = super().columns()
        return c1, c2

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        turned = super().change_output(layer, x, y)
        if weight_of(layer).is_floating_point():
            return turned
        step = turned.detach().abs().amax() / 127
        return turned + ((turned / step).round() * step - turned).detach()


KILLER = "quantised"

EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(DoRAReadsCodes, "dora", KILLER),
    Exhibit(DeLoRAReadsPackedCodes, "delora", KILLER),
    Exhibit(HRAReflectsCodes, "hra", KILLER, raises=True),
    Exhibit(PiSSADecomposesCodes, "pissa", KILLER),
    Exhibit(LoRARefusesCodes, "lora", KILLER, raises=True),
    Exhibit(EVAUnpacksTheBase, "eva", KILLER),
    Exhibit(IA3FFWidensTheInput, "ia3_ff", KILLER),
    Exhibit(ROADScalesTheCodes, "road", KILLER),
)
