"""peft's ``ROAD``: the same kinds and tensors. Source: ``peft.tuners.road`` (``config.py``, ``layer.py``)."""

from __future__ import annotations

from typing import Any

from variants.exchange.matching import named
from variants.exchange.method import AS_IS, Ask, Part, PeftMethod, Settings
from variants.road import ROAD, ROADConfig
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig


def _variant_of(settings: Settings, target: str, where: str) -> type[Adapter]:
    return ROAD


def _config_of(ask: Ask) -> AdapterConfig:
    return ROADConfig(**ask.shared, kind=ask.settings["variant"], group_size=ask.settings["group_size"])


def _fields_of(parts: tuple[Part, ...], modules: list[str]) -> dict[str, Any]:
    (part,) = parts
    config: Any = part.config
    return {
        "target_modules": named(part.layers, modules),
        "variant": config.kind,
        "group_size": config.group_size,
        "modules_to_save": None,
    }


METHOD = PeftMethod(
    peft_type="ROAD",
    honoured={"variant": "road_1", "group_size": 64},
    off={"modules_to_save": (None, "whole modules beside the adapter")},
    idle=frozenset(("init_weights",)),
    names={ROAD: {"theta": ("road_theta", AS_IS), "alpha": ("road_alpha", AS_IS)}},
    variant_of=_variant_of,
    config_of=_config_of,
    fields_of=_fields_of,
    rule=("target_modules",),
)
