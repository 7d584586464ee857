"""AntiPaSTO in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from refs.adjoints import steering
from refs.reference import Array, Author, ClosedForm, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto as authors

PAPER = Paper("2601.07473", "AntiPaSTO")
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto.py",
    "b80d7778afa8e0ec1ed143d2db13c680474ebf46",
    "fd87373a63918387e6913324e0278ffc6ed00e0c4dd55803246818bed35cbe87",
)


def gain(g: Array, settings: Settings) -> Array:
    """1 + z above 0 and exp(z) below, for z = coeff g, or z = coeff min(g, 0)."""
    bounded = np.minimum(g, 0) if settings.option("suppress_only", False) else g
    z = settings.option("coeff", 1.0) * bounded
    values: Array = np.where(z > 0, 1 + z, np.exp(np.minimum(z, 0)))
    return values


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return W + t["U"] @ np.diag(t["S"] * gain(t["g"], settings)) @ t["Vh"], b


def slopes(g: Array, settings: Settings, dE: Array) -> Array:
    """The gradient of g from that of its gains."""
    coeff, cut = settings.option("coeff", 1.0), settings.option("suppress_only", False)
    return steering.gain(g, coeff, cut, dE)


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    right = t["Vh"] if "Vh" in t else t["P"]
    return {"g": slopes(t["g"], settings, t["S"] * np.diag(steering.core(t["U"], right, G)))}


def sign_free(values: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """What the signs of singular vectors do not touch: S, U diag(S) Vh, and the tensors that are no factors."""
    U, S = values["U"], values["S"]
    right = values["Vh"] if "Vh" in values else values["P"]
    others = {name: value for name, value in values.items() if name not in ("U", "Vh", "P")}
    return {**others, "U diag(S) Vh": (U * S) @ right}


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("coeff", 1.0),
        settings.option("suppress_only", False),
        settings.option("act_pool", "rms"),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("g",),
    )


METHOD = Method(
    name="antipasto",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto",
            _build,
            "transcriptions/antipasto.py",
            ("antipasto",),
            "W_eff = W_res + U diag(S (1 + ELU(coeff g))) Vh",
        ),
        ClosedForm(
            "closed:antipasto",
            _effective,
            "W' = W_res + U diag(S E(coeff g)) Vh, E(z) = 1 + z above 0 and exp(z) below",
            pullback=_pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=sign_free,
)
