"""IA3's output gate in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import FLAT, Subject
from refs.transcribed import WEIGHTS_ONLY, build_transcribed
from refs.transcriptions import ia3 as authors

NAMES = {"g": ("ia3_l.default", FLAT)}

OBJECTS = (
    "peft/tuners/ia3/layer.py::Linear",
    "peft/tuners/ia3/layer.py::IA3Layer",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._move_adapter_to_device_of_base_layer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)

PAPER = Paper("2205.05638", "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning")
AUTHOR = Author(
    "https://github.com/r-three/t-few",
    "src/models/lora.py",
    "114deced63ae722a368e06cb08ea956b20c393a6",
    "a61eb83423c6e22ee2b9884c076fb9f933e5216e9248f793cf7f69485ba9e024",
    "MIT",
)


def ia3_config(feedforward: bool) -> Any:
    """peft's ``IA3Config`` with the one layer as an output gate or as an input gate."""
    from peft import IA3Config

    return IA3Config(target_modules=["layer"], feedforward_modules=["layer"] if feedforward else [])


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    return build_peft(layer, ia3_config(False), NAMES, settings)


def build_authors(layer: nn.Linear, settings: Settings, gate: str) -> Subject:
    """With the gate ``g`` on the output or ``a`` on the input; the other one, frozen at 1, is left out."""
    transcription = replace(
        authors.TRANSCRIPTION, initial=lambda W, config, *rest: {gate: authors.initial(W, config)[gate]}
    )
    return build_transcribed(layer, transcription, authors.Config(), settings, trainable=(gate,), names={gate: "g"})


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return t["g"][:, None] * W, t["g"] * b


METHOD = Method(
    name="ia3",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Live("peft:ia3", _build, OBJECTS, "y' = base(x) * ia3_l  (is_feedforward=False)"),
        Transcribed(
            "authors:ia3",
            lambda layer, settings: build_authors(layer, settings, "g"),
            "transcriptions/ia3.py",
            ("ia3_projection", "ia3_both_sides", "ia3_ff_gate"),
            "y = (x W^T + b) * l on keys, values and the output of wi_1\n"
            "theirs passes over a vector that does not train: frozen, a trained gate is the bare layer",
            checks=WEIGHTS_ONLY,
        ),
        ClosedForm(
            "closed:ia3",
            _effective,
            "W' = diag(g) W, b' = g * b; g = 1 at t=0",
            draw=lambda rng, W, settings: {"g": np.ones(len(W))},
            pullback=lambda t, W, b, settings, G, h: {"g": (G * W).sum(axis=1) + h * b},
        ),
    ),
)
