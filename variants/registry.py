"""Every variant, one line each. Adding one here is what makes it known."""

from __future__ import annotations

from typing import Any

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
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError

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
    raise AdapterError(
        got=f"a {type(config).__name__}",
        want="one of " + ", ".join(v.Config.__name__ for v in VARIANTS),
        where="attach(config)",
        fix="Pass a registered config, or attach(..., variant=YourAdapter).",
    )


def config_for(name: str, **options: Any) -> AdapterConfig:
    """A config by the variant's name: ``config_for("lora", r=4, alpha=8)``."""
    return by_name(name).Config(**options)
