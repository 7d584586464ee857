"""LoRA that breaks on some inputs: shapes, memory layout, dtypes, and what is done to x in place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.faults.lora import LoRAInParts
from variants.lora import LoRA


class LoRAViewsItsInput(LoRA):
    """x.view(-1, d_in): an error for every x that is not contiguous, as after a transpose."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x.view(-1, self.d_in).view(x.shape), y)


class LoRARestridesItsInput(LoRA):
    """x is read as rows of its storage: silently other numbers for an x that is not contiguous."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x.as_strided(x.shape, torch.empty(x.shape).stride()), y)


class LoRAOnlyRows(LoRAInParts):
    """torch.mm: an error unless x has two dimensions."""

    def branch(self, dropped: Tensor) -> Tensor:
        return torch.mm(torch.mm(dropped, self.A.T), self.B.T)


class LoRASqueezesTheBatch(LoRA):
    """squeeze() without a dimension: batch dimensions of size 1 disappear from the output."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y).squeeze()


class LoRAMixesTheBatch(LoRA):
    """The update is averaged over the first dimension: rows of one batch see each other."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        mean = x.mean(0, keepdim=True).expand_as(x) if x.dim() > 2 else x
        return super().change_output(layer, mean, y)


class LoRAFlattensTheOutput(LoRA):
    """Leading dimensions are flattened for the product and never restored."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y).reshape(-1, self.d_out) if x.dim() > 1 else y


class LoRAFailsOnAnEmptyBatch(LoRA):
    """x.view(len(x), -1, d): a -1 that nothing determines, as when no token is routed to an expert."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x.reshape(*x.shape[:-1], -1), y)


class LoRADropoutInPlace(LoRA):
    """Dropout writes into x, which the model still needs elsewhere: query, key and value share one x."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training, inplace=True)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


class LoRAScalesItsInputInPlace(LoRA):
    """x *= s in place of s * x: the output is right, and the caller's x is not what it was."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x.data *= self.config.scale
        return y + (super().change_output(layer, x, y) - y) / self.config.scale


class LoRAFloat32Output(LoRA):
    """The float32 of the adapter leaks into the output of a half-precision layer. Found in real code."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.to(torch.promote_types(y.dtype, self.A.dtype)))


class LoRAComputesInFloat32(LoRAInParts):
    """The branch always runs in float32: a float64 model loses nine digits."""

    def branch(self, dropped: Tensor) -> Tensor:
        return F.linear(F.linear(dropped.float(), self.A.float()), self.B.float())


class LoRAComputesInBf16(LoRAInParts):
    """The branch runs in bfloat16 wherever the layer is not in float64, as under a forgotten autocast."""

    def branch(self, dropped: Tensor) -> Tensor:
        dtype = dropped.dtype if dropped.dtype == torch.float64 else torch.bfloat16
        return F.linear(F.linear(dropped.to(dtype), self.A.to(dtype)), self.B.to(dtype))


class LoRAUsesRoundedTensors(LoRAInParts):
    """A and B are kept in float32 and cast down to the dtype of x for every call, so small steps do not show."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.__dict__["low"] = x.dtype
        return super().change_output(layer, x, y)

    def branch(self, dropped: Tensor) -> Tensor:
        return F.linear(F.linear(dropped.to(self.low), self.A.to(self.low)), self.B.to(self.low))
