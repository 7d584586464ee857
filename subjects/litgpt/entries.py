"""LitGPT as a subject: ``conformance audit --entries subjects.litgpt.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace

from litgpt.lora import LoRALinear, mark_only_lora_as_trainable
from torch import nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Again, Stored
from refs.settings import Settings


def put(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``LoRALinear`` holds a layer of its own: ours takes its place."""
    made: nn.Module = LoRALinear(
        layer.in_features,
        layer.out_features,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.option("dropout", 0.0),
    )
    made.linear = layer
    mark_only_lora_as_trainable(made)
    return made.to(layer.weight.dtype)


LORA = entry(
    "litgpt_lora",
    "lora",
    put,
    code=LoRALinear,
    has_dropout=True,
    lifecycle=Lifecycle(merge=lambda subject: subject.host.get_submodule("layer").merge()),  # type: ignore[operator]
    promises=replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER, merging=Again.IGNORED),
    notes=("puts the layer itself under it", "calls mark_only_lora_as_trainable", "casts it to the layer's dtype"),
)

LIBRARY = Library("litgpt", (LORA,))
