"""Every variant, one line each. Adding one here is what makes it known."""

from __future__ import annotations

from typing import Any

from torch import nn

from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA
from variants.ia3 import IA3
from variants.ia3_ff import IA3FF
from variants.lora import LoRA
from variants.lora_experts import LoRAExperts
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.stacks import Stack

VARIANTS: tuple[type[Adapter], ...] = (
    LoRA,
    DoRA,
    IA3,
    IA3FF,
    HRA,
    PiSSA,
    DeLoRA,
    EVA,
    ROAD,
    AntiPaSTO,
    AntiPaSTORot,
    AntiPaSTOAblate,
    AntiPaSTOCorDA,
    AntiPaSTOArrow,
)
ON_STACKS: dict[type[Adapter], type[Adapter]] = {LoRA: LoRAExperts}
"""The adapter of a method on weights that are stacked in one parameter, where the method has one."""


def by_name(name: str) -> type[Adapter]:
    """The variant called ``name``; ``AdapterError`` lists the known ones."""
    for variant in VARIANTS:
        if isinstance(name, str) and variant.name == name:
            return variant
    raise AdapterError(
        got=repr(name),
        want="one of " + ", ".join(v.name for v in VARIANTS),
        where="variant name",
        fix="Check the spelling, or add the variant to variants/registry.py.",
    )


def variant_for(config: AdapterConfig) -> type[Adapter]:
    """The variant that this config configures."""
    for variant in VARIANTS:
        if type(config) is variant.Config:
            return variant
    got, fix = _no_config(config)
    raise AdapterError(got=got, where="attach", fix=fix)


def _no_config(config: object) -> tuple[str, str]:
    """What was passed in place of a config, and what to write."""
    if isinstance(config, nn.Module):
        return f"the config is a module ({type(config).__name__})", "The order is attach(model, config)."
    if isinstance(config, str):
        known = {v.name: v.Config.__name__ for v in VARIANTS}
        near = known.get(config.lower()) or "LoRAConfig"
        return f"the config is the string {config!r}", f"Pass a config object: attach(model, {near}())."
    if isinstance(config, type):
        return f"the config is the class {config.__name__}", f"Pass a config object: {config.__name__}()."
    names = {v.Config.__name__.lower(): v.Config.__name__ for v in VARIANTS}
    if type(config).__module__.partition(".")[0] == "peft":
        near = names.get(type(config).__name__.lower(), "LoRAConfig")
        return f"the config is peft's {type(config).__name__}", f"Use a config of this package: variants.{near}()."
    every = ", ".join(names.values())
    return (
        f"the config is of type {type(config).__name__}",
        f"Pass one of {every}, or attach(..., variant=YourAdapter).",
    )


def on_layer(variant: type[Adapter], layer: nn.Module) -> type[Adapter]:
    """The adapter that this variant puts on this layer: another one on stacked weights, if it has any there."""
    if not isinstance(layer, Stack):
        return variant
    if variant in ON_STACKS:
        return ON_STACKS[variant]
    raise AdapterError(
        got=f"{variant.name} on {layer.parameter}, a parameter of {layer.n} stacked weights",
        want="a method that has a form for such parameters: " + ", ".join(each.name for each in ON_STACKS),
        where=f"attach {variant.name}",
        fix="Use one of these for Targets(parameters=...), and this one on other layers.",
    )


def config_for(name: str, **options: Any) -> AdapterConfig:
    """A config by the variant's name: ``config_for("lora", r=4, alpha=8)``."""
    return by_name(name).Config(**options)
