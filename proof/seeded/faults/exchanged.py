"""Adapters that compute rightly, and whose files say something else to peft."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from refs.subject import Subject
from subjects.own.attached import attached, imported, lifecycle_of
from variants import export_peft
from variants.dora import DoRA
from variants.hra import HRA
from variants.lora import LoRA
from variants.road import ROAD
from variants.runtime.adapter import Adapter

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


class LoRAExportForgetsAlpha:
    """The exported config says lora_alpha = r, whatever alpha was."""


class LoRAImportForgetsRsLoRA:
    """use_rslora in peft's config is not read."""


class DoRAExportWithoutMagnitude:
    """The magnitude is left out of the exported tensors, and peft starts from its own."""


class HRAExportReversed:
    """The reflections are exported in reverse order."""


class ROADExportSwapsItsTensors:
    """Angles are exported as scales, and scales as angles: they have one shape."""


def _edited(change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> Callable[[Subject, Path], None]:
    def to_peft(subject: Subject, folder: Path) -> None:
        export_peft(subject.host, folder)
        _edit(folder, change)

    return to_peft


def _edit(folder: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    tensors = load_file(folder / TENSORS)
    change(config, tensors)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / TENSORS)


def _alpha(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    config["lora_alpha"] = config["r"]


def _plain_scale(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    config["use_rslora"] = False


def _no_magnitude(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if "magnitude" in name]:
        del tensors[name]


def _flipped(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.flip(1)


def _swapped(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    theta, alpha = (next(name for name in tensors if part in name) for part in ("theta", "alpha"))
    tensors[theta], tensors[alpha] = tensors[alpha].clone(), tensors[theta].clone()


def _read_wrongly(layer: nn.Linear, folder: Path) -> Subject:
    _edit(folder, _plain_scale)
    return imported(LoRA, layer, folder)


def _exchanged(shown: Any, variant: type[Adapter], **changes: Any) -> None:
    """The variant itself, with other functions around it."""
    shown.build = staticmethod(lambda layer, settings: attached(variant, layer, settings))
    shown.lifecycle = replace(lifecycle_of(variant), **changes)


_exchanged(LoRAExportForgetsAlpha, LoRA, to_peft=_edited(_alpha))
_exchanged(LoRAImportForgetsRsLoRA, LoRA, from_peft=_read_wrongly)
_exchanged(DoRAExportWithoutMagnitude, DoRA, to_peft=_edited(_no_magnitude))
_exchanged(HRAExportReversed, HRA, to_peft=_edited(_flipped))
_exchanged(ROADExportSwapsItsTensors, ROAD, to_peft=_edited(_swapped))
