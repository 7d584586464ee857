"""Variants that take any option, and do what they like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from variants.antipasto import AntiPaSTO
from variants.lora import LoRA, LoRAConfig
from variants.road import ROAD, ROADConfig
from variants.svd_family import SVDAdapter


@dataclass(frozen=True, kw_only=True)
class _AnyInit(LoRAConfig):
    def __post_init__(self) -> None:
        if self.init not in ("kaiming", "gaussian"):
            object.__setattr__(self, "init", "kaiming")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class _AnyKind(ROADConfig):
    def __post_init__(self) -> None:
        if self.kind not in ("road_1", "road_2", "road_4"):
            object.__setattr__(self, "kind", "road_1")
        super().__post_init__()


class LoRATakesAnyInit(LoRA):
    """An unknown init is taken for the default. Found in real code."""

    Config = _AnyInit


class ROADTakesAnyKind(ROAD):
    """An unknown kind is taken for road_1."""

    Config = _AnyKind


class AntiPaSTOPoolsNothing(AntiPaSTO):
    """act_pool without calibration data is accepted, and does nothing. Found in real code."""

    def factors(self, W: Tensor, statistic: Any) -> tuple[Tensor, Tensor, Tensor]:
        return SVDAdapter.factors(self, W, statistic)
