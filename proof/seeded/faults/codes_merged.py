"""Adapters merged into codes: parts of the format forgotten, and ways back that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from conformance.nouns.lifecycle import Lifecycle
from proof.seeded.fault import Seeded
from refs.subject import Subject
from subjects.own.attached import lifecycle_of
from variants import unmerge
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.ia3 import IA3
from variants.lora import LoRA
from variants.road import ROAD
from variants.runtime import merge as merging
from variants.runtime.adapter import Adapter
from variants.runtime.layers.numbers import numbers_of
from variants.runtime.layers.requantise import Stored, put_back, requantised, stored


def _with(variant: type[Adapter], **changed: Any) -> Lifecycle:
    """What can be done with the variant, but for some of it."""
    return Lifecycle(**{**lifecycle_of(variant).__dict__, **changed})


def _merging(variant: type[Adapter], write: Callable[[nn.Module, Tensor], tuple[Stored, float]]) -> Lifecycle:
    """A merge that quantises by ``write``."""
    real = lifecycle_of(variant).merge
    assert real is not None

    def merge(subject: Subject) -> None:
        with mock.patch.object(merging, "requantised", write):
            real(subject)

    return _with(variant, merge=merge)


def _old_scales(layer: nn.Module, W: Tensor) -> tuple[Stored, float]:
    """Codes for new scales, beside the old ones."""
    new, error = requantised(layer, W)
    return Stored(new.codes, stored(layer).scales), error


class LoRAKeepsTheScales(LoRA):
    """New codes are written, and the scales of the old ones stay."""

    lifecycle = _merging(LoRA, _old_scales)


def _twice_rounded(layer: nn.Module, W: Tensor) -> tuple[Stored, float]:
    """The update by itself in 4 or 8 bits, added, and the sum once more."""
    before, old = stored(layer), numbers_of(layer).to(W.dtype)
    update, _ = requantised(layer, W - old)
    put_back(layer, update)
    rounded = numbers_of(layer).to(W.dtype)
    put_back(layer, before)
    return requantised(layer, old + rounded)


class DoRARoundsTheUpdate(DoRA):
    """W' - W is quantised on its way into the weight: rounded twice."""

    lifecycle = _merging(DoRA, _twice_rounded)


class ROADMergesAllButTheEnd(ROAD):
    """The last block of rows is left out: W' ends there, and the rest is the old weight."""

    lifecycle = _merging(ROAD, lambda layer, W: requantised(layer, torch.cat((W[:-8], numbers_of(layer)[-8:].to(W)))))


def _subtract(subject: Subject) -> None:
    """The way back by arithmetic, as peft goes it: W'' less the update, quantised once more."""
    merged = numbers_of(subject.base).double()
    unmerge(subject.host)
    adapter = subject.base.get_submodule("adapter")
    assert isinstance(adapter, Adapter)
    update = adapter.fold(subject.base)[0] - numbers_of(subject.base)
    put_back(subject.base, requantised(subject.base, merged - update)[0])


class IA3UnmergesByArithmetic(IA3):
    """Unmerged, the codes are almost those from before."""

    lifecycle = _with(IA3, unmerge=_subtract)


def _dense(subject: Subject) -> None:
    real = lifecycle_of(DeLoRA).merge
    assert real is not None
    real(subject)
    W = numbers_of(subject.base).to(torch.float32)
    subject.base.weight = nn.Parameter(W, requires_grad=False)
    subject.base.forward = lambda x: nn.functional.linear(x, W.to(x.dtype), subject.base.bias)  # type: ignore[method-assign, assignment]


class DeLoRAUnpacksWhenMerged(DeLoRA):
    """Merged, the layer is a dense one: the same numbers in eight times the memory."""

    lifecycle = _with(DeLoRA, merge=_dense, unmerge=None)


KILLER = "quantised"

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(LoRAKeepsTheScales, "lora", KILLER),
    Seeded(DoRARoundsTheUpdate, "dora", KILLER),
    Seeded(ROADMergesAllButTheEnd, "road", KILLER),
    Seeded(IA3UnmergesByArithmetic, "ia3", KILLER),
    Seeded(DeLoRAUnpacksWhenMerged, "delora", KILLER),
)
