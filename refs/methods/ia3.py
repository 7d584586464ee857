"""IA3's output gate in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper
from refs.settings import Settings
from refs.subject import FLAT, Subject

NAMES = {"g": ("ia3_l.default", FLAT)}

OBJECTS = (
    "peft/tuners/ia3/layer.py::Linear",
    "peft/tuners/ia3/layer.py::IA3Layer",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._move_adapter_to_device_of_base_layer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)

PAPER = Paper("2205.05638", "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning")
AUTHOR = Author("https://github.com/r-three/t-few")


def ia3_config(feedforward: bool) -> Any:
    """peft's ``IA3Config`` with the one layer as an output gate or as an input gate."""
    from peft import IA3Config

    return IA3Config(target_modules=["layer"], feedforward_modules=["layer"] if feedforward else [])


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    return build_peft(layer, ia3_config(False), NAMES, settings)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return t["g"][:, None] * W, t["g"] * b


METHOD = Method(
    name="ia3",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Live("peft:ia3", _build, OBJECTS, "y' = base(x) * ia3_l  (is_feedforward=False)"),
        ClosedForm("closed:ia3", _effective, "W' = diag(g) W, b' = g * b"),
    ),
)
