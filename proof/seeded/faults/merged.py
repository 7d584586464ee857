"""Adapters that are merged wrongly, or come out of a merge changed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proof.seeded.faults.lifecycle import living
from refs.subject import Subject
from variants import merge
from variants.dora import DoRA
from variants.hra import HRA
from variants.ia3 import IA3
from variants.lora import LoRA
from variants.road import ROAD
from variants.runtime.state import attachments, weight_of


class LoRAMergeScalesTwice(LoRA):
    """W + s s B A is merged. Found in real code."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        return _plus(self, layer, self.config.scale**2)


class LoRAMergeForgetsTheScale(LoRA):
    """W + B A is merged. Found in real code."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        return _plus(self, layer, 1.0)


class LoRAMergesTwice(LoRA):
    """Merging what is merged adds the update once more."""


class LoRAUnmergeSubtracts(LoRA):
    """unmerge subtracts the update from the merged weight: equal up to rounding, not bit for bit."""


class LoRAMergesInBf16(LoRA):
    """The update is computed in bfloat16, whatever the layer's dtype."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        W, b = super().fold(layer)
        before = weight_of(layer).detach().double()
        return before + (W - before).bfloat16().double(), b


class IA3MergeForgetsTheBias(IA3):
    """The weight is gated and the bias is not. Found in real code."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        return super().fold(layer)[0], _bias(layer)


class ROADMergeForgetsTheBias(ROAD):
    """The weight turns and the bias does not. Found in real code."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        return super().fold(layer)[0], _bias(layer)


class DoRAMergeForgetsTheMagnitude(DoRA):
    """W + s B A is merged, without its rows being scaled to m."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        return _plus(self, layer, self.config.scale)


class HRAMergesReversed(HRA):
    """The merged weight has the reflections in the other order."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        W = weight_of(layer).detach().double()
        for u in self.U.detach().double().flip(0):
            W = W - 2 * torch.outer(W @ u, u) / (u @ u)
        return W, _bias(layer)


def _plus(adapter: LoRA, layer: nn.Module, scale: float) -> tuple[Tensor, Tensor]:
    update = scale * adapter.B.detach().double() @ adapter.A.detach().double()
    return weight_of(layer).detach().double() + update, _bias(layer)


def _bias(layer: nn.Module) -> Tensor:
    if layer.bias is None:
        return torch.zeros(layer.out_features, dtype=torch.float64)
    return layer.bias.detach().double()


def _merge_again(subject: Subject) -> None:
    for attachment in attachments(subject.host).values():
        attachment.merged.clear()
        for adapter in attachment.layers.values():
            adapter.unhook()
    merge(subject.host)


def _subtract(subject: Subject) -> None:
    (attachment,) = attachments(subject.host).values()
    adapter = attachment.layers["layer"]
    update = adapter.config.scale * adapter.B.detach().double() @ adapter.A.detach().double()
    with torch.no_grad():
        subject.base.weight.copy_(subject.base.weight - update)
    attachment.merged.clear()
    adapter.hook(subject.base)


living(LoRAMergesTwice, merge=_merge_again)
living(LoRAUnmergeSubtracts, unmerge=_subtract)
