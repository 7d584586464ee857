"""Adapters on quantised layers: codes read as if they were weights, parts of the weight counted twice or rounded."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.checks.use.packed import dequantised
from proof.seeded.fault import Seeded
from variants.antipasto_rot import AntiPaSTORot
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA
from variants.ia3_ff import IA3FF
from variants.lora import LoRA
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.errors import AdapterError
from variants.runtime.layers.numbers import is_quantised, numbers_of
from variants.runtime.layers.requantise import put_back, requantised
from variants.runtime.spec import TensorSpec
from variants.runtime.state import weight_of


class DoRAReadsCodes(DoRA):
    """The bytes of a quantised weight for its numbers: norms come out, and are no norms."""

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


class DoRANormOfTheStart(DoRA):
    """On codes, |V| is what it was when the adapter was built: dequantising takes time, so it is done once."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        self.__dict__["first"] = self.norm(numbers_of(layer))[0].detach()

    def _factor_of(self, layer: nn.Module) -> Tensor:
        return self.m / self.__dict__["first"] if self.on_codes else super()._factor_of(layer)


class DeLoRAReadsCodes(DeLoRA):
    """Column norms of the bytes of a quantised weight; all that trains is computed rightly with them."""

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

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        h = x.to(self.U.dtype)
        return (y + F.linear(self.reflect(h) - h, weight_of(layer).to(h.dtype))).to(y.dtype)


class PiSSADecomposesCodes(PiSSA):
    """The principal part of the bytes: it starts at the identity, and trains in directions of no meaning."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        if not self.on_codes:
            return super().initial(layer, statistic)
        plain = nn.Linear(self.d_in, self.d_out)
        plain.weight.data = _bytes(layer)
        return super().initial(plain, statistic)


class PiSSACountsTheStartTwice(PiSSA):
    """Codes hold no residual, so the whole weight stays; and what the adapter starts at comes on top."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return LoRA.change_output(self, layer, x, y)


class PiSSAQuantisesTheResidual(PiSSACountsTheStartTwice):
    """W - s B0 A0, quantised anew: of a weight that is quantised already, the start is off by another rounding."""

    def hook(self, layer: nn.Module) -> None:
        super().hook(layer)
        if is_quantised(layer):
            put_back(layer, requantised(layer, self.residual(numbers_of(layer)))[0])


class AntiPaSTORotLeavesItsStart(AntiPaSTORot):
    """Takes away what its core was when it was built, small shifts included, so that the start is the identity."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        names = [name for name, p in self.named_parameters() if p.requires_grad]
        self.__dict__["start"] = {name: getattr(self, name).detach().clone() for name in names}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        whole = super().change_output(layer, x, y)
        if not self.on_codes:
            return whole
        h = F.linear(x.to(self.Vh.dtype), self.Vh)
        at_start = functional_core(self, h) - h * self.S
        return (whole - F.linear(at_start, self.U)).to(y.dtype)


def functional_core(adapter: AntiPaSTORot, h: Tensor) -> Tensor:
    """The core with the tensors from the start."""
    now = {name: p.data for name, p in adapter.named_parameters()}
    try:
        for name, value in adapter.__dict__["start"].items():
            adapter.get_parameter(name).data = value
        with torch.no_grad():
            return adapter.core(h)
    finally:
        for name, value in now.items():
            adapter.get_parameter(name).data = value


class LoRARefusesCodes(LoRA):
    """Refuses a quantised weight, though LoRA never looks at the weight."""

    def check_layer(self, layer: nn.Module) -> None:
        if self.on_codes:
            kind = type(layer).__name__
            raise AdapterError(got=f"a {kind}", want="a plain weight", where=self.name, fix="Leave it out.")


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
    Seeded(DoRANormOfTheStart, "dora", KILLER),
    Seeded(DeLoRAReadsCodes, "delora", KILLER),
    Seeded(HRAReflectsCodes, "hra", KILLER, raises=True),
    Seeded(PiSSADecomposesCodes, "pissa", KILLER),
    Seeded(PiSSACountsTheStartTwice, "pissa", KILLER),
    Seeded(PiSSAQuantisesTheResidual, "pissa", KILLER),
    Seeded(AntiPaSTORotLeavesItsStart, "antipasto_rot", KILLER),
    Seeded(LoRARefusesCodes, "lora", KILLER, raises=True),
    Seeded(EVAUnpacksTheBase, "eva", KILLER),
    Seeded(IA3FFWidensTheInput, "ia3_ff", KILLER),
    Seeded(ROADRoundsItsOutput, "road", KILLER),
)
