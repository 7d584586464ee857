"""adapters as a subject: ``conformance audit --entries subjects.adapters.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapters import IA3Config, LoRAConfig, ModelAdaptersConfig
from adapters.composition import Stack
from adapters.methods.lora import LoRALinear
from torch import nn
from transformers import BertConfig

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Again, Stored
from refs.settings import Settings
from refs.subject import Subject

NAME = "audited"


def _put(config: Any, layer: nn.Linear) -> nn.Module:
    adapters = ModelAdaptersConfig()
    adapters.add(NAME, config=config)
    adapters.active_setup = Stack(NAME)
    made = LoRALinear.wrap(layer, "selfattn", BertConfig(), adapters)
    made.add_adapter(NAME, 0)
    made.to(layer.weight.dtype)
    made.weight.requires_grad_(False)
    if made.bias is not None:
        made.bias.requires_grad_(False)
    return made  # type: ignore[no-any-return]


def put_lora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``LoRALinear.wrap`` and ``add_adapter``, as the model mixin calls them."""
    config = LoRAConfig(r=settings.r, alpha=settings.alpha, dropout=settings.option("dropout", 0.0), dtype=None)
    return _put(config, layer)


def put_dora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """LoRA with ``use_dora``."""
    return _put(LoRAConfig(r=settings.r, alpha=settings.alpha, use_dora=True, dtype=None), layer)


def put_ia3(layer: nn.Linear, settings: Settings) -> nn.Module:
    """(IA)^3 on the output."""
    return _put(IA3Config(dtype=None), layer)


def merge(subject: Subject) -> None:
    """The layer's own ``merge_adapter``."""
    subject.base.merge_adapter(NAME)  # type: ignore[operator]


def unmerge(subject: Subject) -> None:
    """The layer's own ``reset_adapter``."""
    subject.base.reset_adapter()  # type: ignore[operator]


LIFE = Lifecycle(merge=merge, unmerge=unmerge)
PROMISES = replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER, merging=Again.IGNORED, offers=())
NOTES = (
    "wraps the layer and adds one adapter for BertConfig's model",
    "freezes the layer",
    "casts it to the layer's dtype",
)

LORA = entry("adapters_lora", "lora", put_lora, code=LoRALinear, lifecycle=LIFE, promises=PROMISES, notes=NOTES)
DORA = entry("adapters_dora", "dora", put_dora, code=LoRALinear, lifecycle=LIFE, promises=PROMISES, notes=NOTES)
IA3 = entry(
    "adapters_ia3",
    "ia3",
    put_ia3,
    code=LoRALinear,
    lifecycle=LIFE,
    promises=replace(PROMISES, input_ranks=(3,)),
    notes=NOTES,
)

LIBRARY = Library("adapters", (LORA, DORA, IA3))
