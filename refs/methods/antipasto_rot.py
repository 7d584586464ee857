"""AntiPaSTO with rotated bases in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from refs.methods import antipasto
from refs.reference import Array, Author, ClosedForm, Method, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto_rot as authors

PAPER = antipasto.PAPER
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto_rot.py",
    "5f9d90d8b83c09eeb86ba11b7aa9f03c9bbf6d71",
    "1701a6e6d4850087d5b4f68eb61a954d6d9ef0318b8064d550e071d305af5ca5",
)


def rotation(p: Array, settings: Settings) -> Array:
    """blockdiag((I - coeff A / 2)^-1 (I + coeff A / 2)), A the clamped skew matrix of each row of p."""
    count, size = len(p), settings.option("block_size", 4)
    limit = 2 * np.tan(settings.option("max_rotation_angle", 0.5) / 2)
    R = np.zeros((count * size, count * size))
    for n, row in enumerate(p):
        A = np.zeros((size, size))
        A[np.triu_indices(size, 1)] = limit * np.tanh(row / (2 * limit))
        half = settings.option("coeff", 1.0) * (A - A.T) / 2
        part = slice(n * size, (n + 1) * size)
        R[part, part] = np.linalg.solve(np.eye(size) - half, np.eye(size) + half)
    return R


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    S = np.diag(t["S"] + settings.option("coeff", 1.0) * t["delta"])
    U = t["U"] @ rotation(t["angles_u"], settings).T if "angles_u" in t else t["U"]
    Vh = rotation(t["angles_v"], settings) @ t["Vh"] if "angles_v" in t else t["Vh"]
    return W + U @ S @ Vh, b


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("block_size", 4),
        settings.option("rotate_basis", "V"),
        settings.option("max_rotation_angle", 0.5),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("delta", "theta", "theta_u"),
        drawn={"delta": 4e-4 + 4e-4 * torch.randn(settings.r)},
        names={
            "theta": "angles_u" if settings.option("rotate_basis", "V") == "U" else "angles_v",
            "theta_u": "angles_u",
        },
    )


METHOD = Method(
    name="antipasto_rot",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto_rot",
            _build,
            "transcriptions/antipasto_rot.py",
            ("antipasto_rot",),
            "W_eff = W_res + U R_u^T diag(S + delta) R_v Vh,  R = blockdiag((I - A/2)^-1 (I + A/2))",
            options=(("block_size", 2),),
            covers=lambda settings: settings.option("coeff", 1.0) == 1,
        ),
        ClosedForm(
            "closed:antipasto_rot",
            _effective,
            "W' = W_res + U R_u^T diag(S + coeff delta) R_v Vh, b' = b",
            options=(("block_size", 2),),
        ),
    ),
    replaces_weight=True,
    sign_free=antipasto.sign_free,
)
