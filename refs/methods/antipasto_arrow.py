"""AntiPaSTO with a dense block in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from refs.adjoints import steering
from refs.methods import antipasto
from refs.reference import Array, Author, ClosedForm, Method, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto_arrow as authors

PAPER = antipasto.PAPER
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto_arrow.py",
    "0d40cc9b3879661224a597f8f000e7b85fe8472d",
    "21a376f7a2b39a8c1e52e065c8f634e6b179c18f507aadd6a8f6db13118811c3",
)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    block = len(t["M"])
    K = np.diag(np.concatenate((np.ones(block), antipasto.gain(t["g"], settings))))
    K[:block, :block] += settings.option("coeff", 1.0) * t["M"]
    return W + t["U"] @ K @ np.diag(t["S"]) @ t["Vh"], b


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    block = len(t["M"])
    dK = steering.core(t["U"], t["S"][:, None] * t["Vh"], G)
    dE = np.diag(dK)[block:]
    return {"M": settings.option("coeff", 1.0) * dK[:block, :block], "g": antipasto.slopes(t["g"], settings, dE)}


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("block", 8),
        settings.option("coeff", 1.0),
        settings.option("suppress_only", False),
        settings.option("act_pool", "rms"),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("M", "g"),
    )


METHOD = Method(
    name="antipasto_arrow",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto_arrow",
            _build,
            "transcriptions/antipasto_arrow.py",
            ("antipasto_arrow",),
            "W_eff = W_res + U K diag(S) Vh,  K = blockdiag(I + coeff M, diag(1 + ELU(coeff g)))",
            options=(("block", 1),),
        ),
        ClosedForm(
            "closed:antipasto_arrow",
            _effective,
            "W' = W_res + U K diag(S) Vh, b' = b",
            options=(("block", 1),),
            pullback=_pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=antipasto.sign_free,
)
