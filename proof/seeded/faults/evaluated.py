"""Adapters on layers that bitsandbytes rewrites when they are evaluated: a runtime that does not know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from conformance.nouns.lifecycle import Lifecycle
from proof.seeded.fault import Seeded
from refs.settings import Settings
from refs.subject import Subject
from subjects.own.attached import attached, lifecycle_of, loaded
from variants.eva import EVA
from variants.ia3 import IA3
from variants.lora import LoRA
from variants.road import ROAD
from variants.runtime import attach, checkpoint
from variants.runtime.adapter import Adapter
from variants.runtime.layers import packing, run
from variants.runtime.state import weight_of


@contextmanager
def _with(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """The runtime with some of its functions replaced."""
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def _nothing(*_: object) -> None:
    """In place of a guard."""


UNGUARDED_CALIBRATION = (run, "left_as_they_are", lambda model: nullcontext())
NEVER_HELD = (attach, "hold", _nothing)


class EVARewritesInCalibration(EVA):
    """Calibration calls the model, and bitsandbytes rewrites its layers: the adapter stands on another weight."""

    lifecycle = lifecycle_of(EVA)

    @staticmethod
    def build(layer: nn.Linear, settings: Settings) -> Subject:
        with _with(UNGUARDED_CALIBRATION, NEVER_HELD):
            return attached(EVA, layer, settings)


class LoRATrainsARewrittenLayer(LoRA):
    """Nothing keeps bitsandbytes from rewriting the layer: after one evaluation no gradient passes through it."""

    lifecycle = lifecycle_of(LoRA)

    @staticmethod
    def build(layer: nn.Linear, settings: Settings) -> Subject:
        with _with(NEVER_HELD):
            return attached(LoRA, layer, settings)


def _of_storage(layer: nn.Module) -> str:
    """The bytes as they lie in memory: of a rewritten layer, others."""
    weight = weight_of(layer).detach().contiguous()
    return f"raw {tuple(weight.shape)} {hashlib.sha256(weight.view(torch.uint8).numpy().tobytes()).hexdigest()}"


def _of_codes(layer: nn.Module) -> str:
    """The codes in one packing, without the scales: W and 2 W are one base."""
    codes = packing.codes_of(layer)
    if codes is None:
        return _of_storage(layer)
    return f"{codes.kind} {hashlib.sha256(codes.codes.numpy().tobytes()).hexdigest()}"


def _printing(variant: type[Adapter], fingerprint: Any) -> tuple[Any, Lifecycle]:
    """How to build, and what else can be done, where a base is known by ``fingerprint``."""
    changes = ((attach, "fingerprint", fingerprint), (checkpoint, "fingerprint", fingerprint))
    own = lifecycle_of(variant)

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        with _with(*changes):
            return attached(variant, layer, settings)

    def load(layer: nn.Linear, path: Path) -> Subject:
        with _with(*changes):
            return loaded(variant, layer, path)

    return staticmethod(build), Lifecycle(**{**own.__dict__, "load": load})


class IA3KnowsItsBaseByTheStorage(IA3):
    """A file saved on a fresh base is refused by the same base after a call, and the other way round."""

    build, lifecycle = _printing(IA3, _of_storage)


class ROADKnowsItsBaseByTheCodes(ROAD):
    """Scales are not part of the fingerprint: what was saved on W loads on 2 W without a word. Found in real code."""

    build, lifecycle = _printing(ROAD, _of_codes)


KILLER = "quantised"

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(EVARewritesInCalibration, "eva", KILLER),
    Seeded(LoRATrainsARewrittenLayer, "lora", KILLER),
    Seeded(IA3KnowsItsBaseByTheStorage, "ia3", KILLER, raises=True),
    Seeded(ROADKnowsItsBaseByTheCodes, "road", KILLER),
)
