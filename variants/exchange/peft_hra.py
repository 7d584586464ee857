"""peft's ``HRA``: its ``hra_u`` is U transposed. Source: ``peft.tuners.hra`` (``config.py``, ``layer.py``)."""

from __future__ import annotations

from typing import Any

from variants.exchange.matching import named
from variants.exchange.method import TRANSPOSED, Ask, Part, PeftMethod, Settings
from variants.hra import HRA, HRAConfig
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError


def _variant_of(settings: Settings, target: str, where: str) -> type[Adapter]:
    return HRA


def _config_of(ask: Ask) -> AdapterConfig:
    return HRAConfig(**ask.shared, r=ask.settings["r"], gram_schmidt=ask.settings["apply_GS"])


def _fields_of(parts: tuple[Part, ...], modules: list[str]) -> dict[str, Any]:
    (part,) = parts
    config: Any = part.config
    if config.side != "input":
        raise AdapterError(
            got=f"hra with side={config.side!r}",
            want="the input side: peft reflects nothing else",
            where="export",
            fix="merge(model) and save the whole model, or save(model, path) to load it here.",
        )
    return {
        "target_modules": named(part.layers, modules),
        "r": config.r,
        "apply_GS": config.gram_schmidt,
        "init_weights": not config.gram_schmidt,  # paired rows, or not
        "bias": "none",
        "modules_to_save": None,
    }


METHOD = PeftMethod(
    peft_type="HRA",
    honoured={"r": 8, "apply_GS": False},
    off={
        "bias": ("none", "biases of the base that were trained"),
        "modules_to_save": (None, "whole modules beside the adapter"),
    },
    idle=frozenset(("init_weights",)),
    names={HRA: {"U": ("hra_u", TRANSPOSED)}},
    variant_of=_variant_of,
    config_of=_config_of,
    fields_of=_fields_of,
)
