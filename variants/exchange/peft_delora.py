"""peft's ``DELORA``, without the authors' frozen copies. The column norms of the base (w) are in its files, too.

``delora_lambda`` and ``lambda_pattern`` say where the strength started; what was trained is a tensor.
Source: ``peft.tuners.delora`` (``config.py``, ``layer.py``, ``model.py``).
"""

from __future__ import annotations

from typing import Any

from variants.delora import DeLoRA, DeLoRAConfig
from variants.exchange.matching import named, pattern_value, patterns_of
from variants.exchange.method import AS_IS, Ask, Part, PeftMethod, Settings, patterns, plain
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError


def _variant_of(settings: Settings, target: str, where: str) -> type[Adapter]:
    return DeLoRA


def _config_of(ask: Ask) -> AdapterConfig:
    settings, where = ask.settings, "import DELORA"
    r, lam = settings["r"], settings["delora_lambda"]
    if ask.target is not None:
        r = pattern_value(patterns(settings, "rank_pattern", where), ask.target, r)
        lam = pattern_value(patterns(settings, "lambda_pattern", where), ask.target, lam)
    return DeLoRAConfig(**ask.shared, r=r, lam=lam, dropout=settings["module_dropout"])


def _fields_of(parts: tuple[Part, ...], modules: list[str]) -> dict[str, Any]:
    (part,) = parts
    config: Any = part.config
    if config.frozen_copies:
        raise AdapterError(
            got="delora with frozen_copies",
            want="the form without: peft has no place for the copies C and D",
            where="export",
            fix="merge(model) and save the whole model, or save(model, path) to load it here.",
        )
    configs: dict[str, Any] = {name: adapter.config for name, adapter in part.layers.items()}
    return {
        "target_modules": named(part.layers, modules),
        "r": config.r,
        "delora_lambda": plain(config.lam),
        "rank_pattern": patterns_of({name: each.r for name, each in configs.items()}, config.r),
        "lambda_pattern": patterns_of({name: each.lam for name, each in configs.items()}, config.lam),
        "module_dropout": config.dropout,
        "bias": "none",
        "modules_to_save": None,
    }


METHOD = PeftMethod(
    peft_type="DELORA",
    honoured={"r": 8, "delora_lambda": 15, "rank_pattern": {}, "lambda_pattern": {}, "module_dropout": 0.0},
    off={
        "bias": ("none", "biases of the base that were trained"),
        "modules_to_save": (None, "whole modules beside the adapter"),
    },
    idle=frozenset(("init_weights",)),
    names={
        DeLoRA: {
            "A": ("delora_A", AS_IS),
            "B": ("delora_B", AS_IS),
            "lam": ("delora_lambda", AS_IS),
            "w": ("delora_w_norm", AS_IS),
        }
    },
    variant_of=_variant_of,
    config_of=_config_of,
    fields_of=_fields_of,
)
