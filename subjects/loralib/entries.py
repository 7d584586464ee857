"""loralib as a subject: ``conformance audit --entries subjects.loralib.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace

import loralib
from torch import nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.promises import FOREIGN, Stored
from refs.settings import Settings


def put(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``loralib.Linear`` is a layer of its own: it gets the weight and bias, and is not merged in eval mode."""
    made: nn.Linear = loralib.Linear(
        layer.in_features,
        layer.out_features,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.option("dropout", 0.0),
        merge_weights=False,
        bias=layer.bias is not None,
        dtype=layer.weight.dtype,
    )
    made.weight.data.copy_(layer.weight)
    if layer.bias is not None:
        made.bias.data.copy_(layer.bias)
    loralib.mark_only_lora_as_trainable(made)
    return made


LORA = entry(
    "loralib_lora",
    "lora",
    put,
    code=loralib.Linear,
    has_dropout=True,
    promises=replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER),
    notes=("copies weight and bias into the layer", "calls mark_only_lora_as_trainable"),
)

LIBRARY = Library("loralib", (LORA,))
