"""A variant on a whole model, and peft's tuner with the same start on another copy of it."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learning.task import TARGETS, Data, base
from variants import VARIANTS, Targets, attach, export_peft
from variants.exchange.registry import PEFT_METHODS

NEEDS_DATA = ("eva", "antipasto_corda")
RANK, ALPHA = 4, 8.0
SMALL: dict[str, dict[str, Any]] = {
    "road": {"group_size": 2},
    "antipasto_rot": {"block_size": 2},
    "antipasto_arrow": {"block": 2},
    "eva": {"rho": 1.0},
}
"""Options whose defaults are made for larger layers. EVA keeps its rank everywhere, so that each target trains."""
ONLY_OURS = "peft has no such tuner"
OWN_START = "pissa"
"""Exported, it is a LoRA of rank 2r on the untouched base: another run. peft splits the weight itself."""


def config_of(name: str) -> Any:
    """The variant's config on the targets; what is not a size is at its default."""
    variant = next(v for v in VARIANTS if v.name == name)
    fields = variant.Config.__dataclass_fields__
    sizes: dict[str, Any] = {key: value for key, value in (("r", RANK), ("alpha", ALPHA)) if key in fields}
    return variant.Config(targets=Targets(include=TARGETS), **sizes, **SMALL.get(name, {}))


def put(name: str, model: nn.Module, taught: Data, seed: int) -> Any:
    """Attach to the model; calibration, where it is needed, looks at training inputs."""
    torch.manual_seed(seed)
    batches = [{"input_ids": part} for part in torch.split(taught.inputs, 16)] if name in NEEDS_DATA else None
    return attach(model, config_of(name), calibration=batches)


@dataclass(frozen=True)
class Beside:
    """peft's model, or why there is none."""

    model: nn.Module | None
    why_not: str = ""

    @property
    def tensors(self) -> list[Tensor]:
        """What trains."""
        return [] if self.model is None else [p for p in self.model.parameters() if p.requires_grad]


def has_peft(name: str) -> bool:
    """Whether peft has a tuner of this method."""
    return any(name in (variant.name for variant in method.names) for method in PEFT_METHODS)


def beside(name: str, ours: nn.Module, model_name: str) -> Beside:
    """peft's tuner on a fresh copy, started from what ``ours`` exports now."""
    import peft

    if not has_peft(name):
        return Beside(None, ONLY_OURS)
    fresh = base(model_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == OWN_START:
            config = peft.LoraConfig(
                r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), init_lora_weights="pissa", lora_dropout=0.0
            )
            return Beside(peft.get_peft_model(fresh, config))
        with tempfile.TemporaryDirectory() as folder:
            export_peft(ours, Path(folder))
            return Beside(peft.PeftModel.from_pretrained(fresh, folder, is_trainable=True))
