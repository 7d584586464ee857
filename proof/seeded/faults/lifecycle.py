"""Adapters that compute rightly and live wrongly: saved, loaded, detached, or kept two at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from conformance.nouns.lifecycle import Pair
from refs.settings import Settings
from refs.subject import Subject
from subjects.own.attached import lifecycle_of, loaded, pair
from variants import detach
from variants.antipasto import AntiPaSTO
from variants.dora import DoRA
from variants.eva import EVA, require_enough
from variants.lora import LoRA
from variants.pissa import PiSSA
from variants.runtime import checkpoint
from variants.runtime.adapter import Adapter, row_norm
from variants.runtime.state import attachments, weight_of


class _Recalled(LoRA):
    """LoRA that does something to itself when it comes from a file."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        if given.get("values") is not None:
            self.recalled()

    def recalled(self) -> None:
        raise NotImplementedError


class LoRAScaleNotSaved(_Recalled):
    """A loaded adapter runs with s = 1. Found in real code."""

    factor: float | None = None

    def recalled(self) -> None:
        self.factor = 1.0

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        factor = self.config.scale if self.factor is None else self.factor
        return (y + factor * F.linear(F.linear(x, self.A), self.B)).to(y.dtype)


class LoRAComesBackTraining(_Recalled):
    """A loaded adapter is in training mode, whatever the model is in. Found in real code."""

    def recalled(self) -> None:
        self.train()


class LoRAComesBackFrozen(_Recalled):
    """A loaded adapter cannot be trained on."""

    def recalled(self) -> None:
        self.requires_grad_(False)


class LoRAComesBackRounded(_Recalled):
    """The file holds bfloat16 numbers, whatever the tensors were."""

    def recalled(self) -> None:
        for p in self.parameters():
            p.data = p.data.bfloat16().to(p.dtype)


class DoRAMagnitudeNotSaved(DoRA):
    """A loaded adapter starts from the magnitude of the base again. Found in real code."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        if given.get("values") is not None:
            self.m.data.copy_(row_norm(weight_of(layer).double()))


class EVALoadingAsksForData(EVA):
    """A saved adapter cannot be loaded without calibration batches. Found in real code."""

    def __init__(self, config: Any, layer: nn.Module, *, statistic: Any = None, values: Any = None) -> None:
        require_enough(config.r, statistic, layer, "eva")
        super().__init__(config, layer, statistic=statistic, values=values)


class AntiPaSTOLoadsThePlainSVD(AntiPaSTO):
    """Loading forms W_res from the top of the spectrum, whichever directions were chosen. Found in real code."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        self.from_file = given.get("values") is not None

    def residual(self, W: Tensor) -> Tensor | None:
        if not self.from_file:
            return super().residual(W)
        U, S, Vh = torch.linalg.svd(W.double(), full_matrices=False)
        r = self.config.r
        return (W.double() - U[:, :r] * S[:r] @ Vh[:r]).to(W.dtype)


class AntiPaSTOLeavesTheResidual(AntiPaSTO):
    """detach leaves W_res in the layer. Found in real code."""

    @property
    def original(self) -> Tensor | None:
        return None

    @original.setter
    def original(self, W: Tensor | None) -> None:
        pass


class PiSSADetachAddsTheFactors(PiSSA):
    """detach makes W out of W_res and the first factors again: equal up to rounding, not bit for bit."""

    residue: Tensor | None = None

    @property
    def original(self) -> Tensor | None:
        if self.residue is None:
            return None
        start = self.file_tensors
        return self.residue + (self.config.scale * start["B0"] @ start["A0"]).to(self.residue.dtype)

    @original.setter
    def original(self, W: Tensor | None) -> None:
        self.residue = None if W is None else self.residual(W)


class LoRALeavesItsHook(LoRA):
    """detach leaves the hook on the layer, and with it the adapter's effect."""

    def unhook(self) -> None:
        pass


class LoRALeavesTheBaseFrozen(LoRA):
    """detach forgets to make trainable again what attach froze."""


class LoRALoadsOnAnyBase(LoRA):
    """The base's fingerprint is not looked at: an adapter of W goes onto -W."""


class LoRAFailedLoadChangesTheBase(LoRA):
    """The base is replaced first and refused afterwards."""


class LoRASecondAttachFreezesTheFirst(LoRA):
    """Attaching to other layers freezes the adapter that is there. Found in real code."""


class LoRADetachOneTakesBoth(LoRA):
    """Taking one adapter off takes every adapter off. Found in real code."""


class LoRASecondLoadFails(LoRA):
    """A model that has an adapter takes no other from a file. Found in real code."""


def _detach_and_freeze(subject: Subject) -> None:
    detach(subject.host)
    subject.host.requires_grad_(False)


def _on_any_base(variant: type[Adapter]) -> Callable[[nn.Linear, Path], Subject]:
    def load(layer: nn.Linear, path: Path) -> Subject:
        with safe_open(path, "pt") as file:
            saved = next(iter(json.loads(file.metadata()["base"]).values()))
        with patch.object(checkpoint, "fingerprint", lambda layer: saved):
            return loaded(variant, layer, path)

    return load


def _change_then_refuse(variant: type[Adapter]) -> Callable[[nn.Linear, Path], Subject]:
    def load(layer: nn.Linear, path: Path) -> Subject:
        try:
            return loaded(variant, layer, path)
        except Exception:
            with torch.no_grad():
                layer.weight.mul_(-1)
            raise

    return load


def _freezing(variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings) -> Pair:
    both = pair(variant, layers, settings)
    attachments(both.model)["first"].layers["0"].requires_grad_(False)
    return both


def _taking_both(variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings) -> Pair:
    both = pair(variant, layers, settings)

    def off(which: int) -> None:
        with suppress(Exception):  # nothing is left to take off the second time
            detach(both.model)

    return replace(both, detach=off)


def _one_load_only(variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings) -> Pair:
    def refuse(layers: tuple[nn.Linear, nn.Linear], paths: tuple[Path, Path]) -> Pair:
        raise RuntimeError("the model has an adapter")

    return replace(pair(variant, layers, settings), load=refuse)


def living(variant: type[Adapter], **changes: Any) -> None:
    """Let its users do these things in another way than ours do."""
    variant.lifecycle = replace(lifecycle_of(variant), **changes)  # type: ignore[attr-defined]


living(LoRALeavesTheBaseFrozen, detach=_detach_and_freeze)
living(LoRALoadsOnAnyBase, load=_on_any_base(LoRALoadsOnAnyBase))
living(LoRAFailedLoadChangesTheBase, load=_change_then_refuse(LoRAFailedLoadChangesTheBase))
living(LoRASecondAttachFreezesTheFirst, pair=lambda ls, s: _freezing(LoRASecondAttachFreezesTheFirst, ls, s))
living(LoRADetachOneTakesBoth, pair=lambda ls, s: _taking_both(LoRADetachOneTakesBoth, ls, s))
living(LoRASecondLoadFails, pair=lambda ls, s: _one_load_only(LoRASecondLoadFails, ls, s))
