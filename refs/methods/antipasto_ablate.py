"""AntiPaSTO's ablation in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from refs.adjoints import steering
from refs.methods import antipasto
from refs.reference import Array, Author, ClosedForm, Method, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto_ablate as authors

PAPER = antipasto.PAPER
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto_ablate.py",
    "09dcfe0d41c9209fcfb072a71d23356f11f80c46",
    "347885de1017ca555065a3d2e3bc2392eab7d0fdb45c53cefa8a9ce5432e68e6",
)


def _orthonormal(c: Array) -> Array:
    if c.shape[1] == 1:
        return np.asarray(c / (np.sqrt((c * c).sum()) + 1e-6))
    return np.linalg.qr(c)[0]


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    Q = _orthonormal(t["c"])
    removed = settings.option("coeff", 1.0) * (Q @ np.diag(np.clip(t["alpha"], 0, 1)) @ Q.T)
    return W + t["U"] @ (np.eye(len(Q)) - removed) @ np.diag(t["S"]) @ t["Vh"], b


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    dM = -settings.option("coeff", 1.0) * steering.core(t["U"], t["S"][:, None] * t["Vh"], G)
    alpha = t["alpha"]
    return steering.directions(t["c"], np.clip(alpha, 0, 1), (alpha >= 0) & (alpha <= 1), dM, 1e-6)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("k", 1),
        settings.option("coeff", 1.0),
        settings.option("init_alpha", 0.05),
        settings.option("cov_orient", False),
        settings.option("cov_eps", 1e-3),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("c", "alpha"),
        oriented=settings.option("cov_orient", False),
        drawn={"c": torch.randn(settings.r, settings.option("k", 1)) / settings.r**0.5},
    )


METHOD = Method(
    name="antipasto_ablate",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto_ablate",
            _build,
            "transcriptions/antipasto_ablate.py",
            ("antipasto_ablate",),
            "W_eff = W_res + U (I - coeff Q diag(clip(alpha, 0, 1)) Q^T) diag(S) Vh",
        ),
        ClosedForm(
            "closed:antipasto_ablate",
            _effective,
            "W' = W_res + U (I - coeff Q diag(clip(alpha, 0, 1)) Q^T) diag(S) Vh, b' = b",
            pullback=_pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=antipasto.sign_free,
)
