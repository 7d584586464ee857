"""LoRA in peft and in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from refs.adjoints.low_rank import low_rank
from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import AS_IS, Subject
from refs.transcribed import WEIGHTS_ONLY, build_transcribed
from refs.transcriptions import lora as authors

NAMES = {"A": ("lora_A.default.weight", AS_IS), "B": ("lora_B.default.weight", AS_IS)}

OBJECTS = (
    "peft/tuners/lora/layer.py::Linear.forward",
    "peft/tuners/lora/layer.py::Linear.__init__",
    "peft/tuners/lora/layer.py::LoraLayer.update_layer",
    "peft/tuners/lora/layer.py::LoraLayer.reset_lora_parameters",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._cast_input_dtype",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._move_adapter_to_device_of_base_layer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)


def lora_config(settings: Settings, **more: Any) -> Any:
    """peft's ``LoraConfig`` for neutral settings."""
    from peft import LoraConfig

    gaussian = settings.option("init", "kaiming") == "gaussian"
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.option("dropout", 0.0),
        use_rslora=settings.option("rslora", False),
        init_lora_weights="gaussian" if gaussian else True,
        target_modules=["layer"],
        **more,
    )


def scale(settings: Settings) -> float:
    """s = alpha / r, or alpha / sqrt(r) with rsLoRA."""
    return settings.alpha / (math.sqrt(settings.r) if settings.option("rslora", False) else settings.r)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    return build_peft(layer, lora_config(settings), NAMES, settings)


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    return low_rank(t["A"], t["B"], scale(settings), G)


def draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    """A uniform on +-1/sqrt(d_in), or N(0, 1/r^2); B zero."""
    shape, bound = (settings.r, W.shape[1]), 1 / math.sqrt(W.shape[1])
    gaussian = settings.option("init", "kaiming") == "gaussian"
    A = rng.normal(0, 1 / settings.r, shape) if gaussian else rng.uniform(-bound, bound, shape)
    return {"A": A, "B": np.zeros((len(W), settings.r))}


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(settings.r, settings.alpha)
    drawn = {"A": nn.init.kaiming_uniform_(torch.empty(settings.r, layer.in_features), a=math.sqrt(5))}
    return build_transcribed(layer, authors.TRANSCRIPTION, config, settings, trainable=("A", "B"), drawn=drawn)


def _authors_have(settings: Settings) -> bool:
    plain = settings.option("init", "kaiming") == "kaiming" and not settings.option("rslora", False)
    return plain and not settings.option("dropout", 0.0)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return W + scale(settings) * t["B"] @ t["A"], b


METHOD = Method(
    name="lora",
    paper=Paper("2106.09685", "LoRA: Low-Rank Adaptation of Large Language Models"),
    author=Author(
        "https://github.com/microsoft/LoRA",
        "loralib/layers.py",
        "cb3c07726080020f2d2ed5d732cd14c35068fe92",
        "ea9fa6bd0930dfbf5af08440f6c71aeab3408cf07d3cca7620c86c45ea730797",
        "MIT",
    ),
    references=(
        Live("peft:lora", _build, OBJECTS, "y' = base(x) + lora_B(lora_A(dropout(x))) * (lora_alpha / r)"),
        Transcribed(
            "authors:lora",
            _build_authors,
            "transcriptions/lora.py",
            authors.TRANSCRIPTION.variants,
            "y = x W^T + b + (alpha / r) (x A^T) B^T",
            covers=_authors_have,
            checks=WEIGHTS_ONLY,
        ),
        ClosedForm("closed:lora", _effective, "W' = W + s B A, b' = b", draw=draw, pullback=_pullback),
    ),
)
