"""lora-pytorch as a subject: ``conformance audit --entries subjects.lora_pytorch.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace

from lora_pytorch import LoRA
from torch import nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Library
from conformance.nouns.promises import FOREIGN, Stored
from refs.settings import Settings


def put(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``from_module`` takes a rank, and has no alpha: alpha is not passed on."""
    made: nn.Module = LoRA.from_module(layer, rank=settings.r)
    return made


LORA = entry(
    "lora_pytorch_lora",
    "lora",
    put,
    code=LoRA,
    promises=replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER, scales=False, freezes=False, offers=()),
    notes=("calls LoRA.from_module(layer, rank=r), which takes no alpha",),
)

LIBRARY = Library("lora-pytorch", (LORA,))
