"""LyCORIS as a subject: ``conformance audit --entries subjects.lycoris.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from torch import Tensor, nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.promises import FOREIGN, Stored
from refs.settings import Settings
from refs.subject import shifted


class Wrapped(nn.Module):
    """The layer and the LyCORIS module that patches its ``forward``, which knows the layer but does not register it."""

    def __init__(self, layer: nn.Linear, made: Any) -> None:
        super().__init__()
        self.layer, self.lycoris = layer.requires_grad_(False), made
        made.apply_to()

    def forward(self, x: Tensor) -> Tensor:
        """A call of the layer, as patched."""
        y: Tensor = self.layer(x)
        return y


def _put(kind: Any, layer: nn.Linear, settings: Settings, **more: Any) -> nn.Module:
    made = kind("lycoris", layer, lora_dim=settings.r, alpha=settings.alpha, **more)
    return Wrapped(layer, made.to(layer.weight.dtype))


def put_lora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """LoCon on a linear layer, which is LoRA."""
    return _put(LoConModule, layer, settings)


def put_dora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """LoCon with ``weight_decompose``, which LyCORIS calls DoRA."""
    return _put(LoConModule, layer, settings, weight_decompose=True)


def put_ia3(layer: nn.Linear, settings: Settings) -> nn.Module:
    """(IA)^3 on the output."""
    return _put(IA3Module, layer, settings)


PROMISES = replace(FOREIGN, stored=Stored.AS_LAYER)
LOCON = replace(PROMISES, bookkeeping=("*.dtype_tensor", "*.lycoris.alpha", "*.lycoris.scalar"))
NOTES = (
    "registers the layer beside the LyCORIS module, and calls apply_to",
    "freezes the layer",
    "casts the LyCORIS module to the layer's dtype",
)

LORA = entry("lycoris_lora", "lora", put_lora, code=LoConModule, promises=LOCON, notes=NOTES)
DORA = entry("lycoris_dora", "dora", put_dora, code=LoConModule, promises=LOCON, notes=NOTES)
IA3 = entry(
    "lycoris_ia3",
    "ia3",
    put_ia3,
    names={"g": ("lycoris.weight", shifted(1.0))},
    code=IA3Module,
    promises=replace(PROMISES, bookkeeping=("*.dtype_tensor", "*.on_input")),
    notes=(*NOTES, "reads g as the stored weight + 1"),
)

LIBRARY = Library("lycoris-lora", (LORA, DORA, IA3))
