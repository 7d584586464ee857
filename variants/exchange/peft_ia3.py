"""peft's ``IA3``: one adapter with output gates and, on the ``feedforward_modules``, input gates.

Here these are two methods, ``ia3`` and ``ia3_ff``: both go into one folder, and one folder gives up to two
attachments. Unlike for ``target_modules``, peft asks only whether a layer's name ends like an entry of
``feedforward_modules``, with or without a dot before it.

Source: ``peft.tuners.ia3`` (``config.py``, ``layer.py``, ``model.py``).
"""

from __future__ import annotations

from typing import Any

from variants.exchange.matching import compiled, exactly, matches, named
from variants.exchange.method import COLUMN, ROW, Ask, Part, PeftMethod, Settings
from variants.ia3 import IA3, IA3Config
from variants.ia3_ff import IA3FF, IA3FFConfig
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError


def _variant_of(settings: Settings, target: str, where: str) -> type[Adapter]:
    chosen = settings["feedforward_modules"]
    if isinstance(chosen, str):
        compiled(chosen, where)
    elif not (isinstance(chosen, list) and all(isinstance(each, str) for each in chosen)):
        # null stands for a table of architectures inside peft, which writes the names it took from there.
        want, fix = "a list of names or a string", "Name them in adapter_config.json; [] for none."
        raise AdapterError(got=f"feedforward_modules={chosen!r}", want=want, where=where, fix=fix)
    return IA3FF if _is_feedforward(target, chosen) else IA3


def _is_feedforward(name: str, chosen: str | list[str]) -> bool:
    return matches(name, chosen) if isinstance(chosen, str) else name.endswith(tuple(chosen))


def _config_of(ask: Ask) -> AdapterConfig:
    return (IA3FFConfig if ask.variant is IA3FF else IA3Config)(**ask.shared)


def _fields_of(parts: tuple[Part, ...], modules: list[str]) -> dict[str, Any]:
    gated = {name: part.variant for part in parts for name in part.layers}
    inputs = sorted(name for name, variant in gated.items() if variant is IA3FF)
    targets = named(gated, modules)
    feedforward: list[str] | str = [name for name in inputs if name in targets] if isinstance(targets, list) else []
    if isinstance(targets, list) and len(feedforward) < len(inputs):  # short names: those of the input gates
        feedforward = sorted({name.rpartition(".")[2] for name in inputs})
    if [name for name in sorted(gated) if _is_feedforward(name, feedforward)] != inputs:
        targets, feedforward = exactly(gated), exactly(inputs)
    return {
        "target_modules": targets,
        "feedforward_modules": feedforward,
        "fan_in_fan_out": False,
        "modules_to_save": None,
    }


METHOD = PeftMethod(
    peft_type="IA3",
    honoured={"feedforward_modules": None},
    off={
        "modules_to_save": (None, "whole modules beside the adapter"),
    },
    idle=frozenset(("init_ia3_weights", "fan_in_fan_out")),
    names={IA3: {"g": ("ia3_l", COLUMN)}, IA3FF: {"g": ("ia3_l", ROW)}},
    variant_of=_variant_of,
    config_of=_config_of,
    fields_of=_fields_of,
    conv1d=True,
    several=True,
    rule=("target_modules", "exclude_modules"),
)
