"""torchtune as a subject: ``conformance audit --entries subjects.torchtune.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torchtune.modules.peft import DoRALinear, LoRALinear, get_adapter_params, set_trainable_params

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.promises import FOREIGN, Stored
from refs.settings import Settings


def _put(kind: Any, layer: nn.Linear, settings: Settings) -> nn.Module:
    made: nn.Module = kind(
        layer.in_features,
        layer.out_features,
        rank=settings.r,
        alpha=settings.alpha,
        dropout=settings.option("dropout", 0.0),
        use_bias=layer.bias is not None,
    ).to(layer.weight.dtype)
    with torch.no_grad():
        made.get_parameter("weight").copy_(layer.weight)
        if layer.bias is not None:
            made.get_parameter("bias").copy_(layer.bias)
    set_trainable_params(made, get_adapter_params(made))
    return made


def put_lora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """A layer of its own, with the weight and bias copied."""
    return _put(LoRALinear, layer, settings)


def put_dora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """As ``put_lora``; the magnitude is left uninitialised until it is asked for, as its docstring says."""
    made = _put(DoRALinear, layer, settings)
    made.initialize_dora_magnitude()  # type: ignore[operator]
    return made


PROMISES = replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER)
NOTES = ("copies weight and bias into the layer", "calls set_trainable_params", "casts it to the layer's dtype")

LORA = entry("torchtune_lora", "lora", put_lora, code=LoRALinear, has_dropout=True, promises=PROMISES, notes=NOTES)
DORA = entry(
    "torchtune_dora",
    "dora",
    put_dora,
    code=DoRALinear,
    has_dropout=True,
    promises=PROMISES,
    notes=(*NOTES, "calls initialize_dora_magnitude, without which the magnitude is uninitialised memory"),
)

LIBRARY = Library("torchtune", (LORA, DORA))
