"""IA3's input gate for feed-forward layers in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from refs.live import build_peft
from refs.methods import ia3
from refs.reference import Array, ClosedForm, Live, Method, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import WEIGHTS_ONLY


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    return build_peft(layer, ia3.ia3_config(True), ia3.NAMES, settings)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return W * t["g"][None, :], b


METHOD = Method(
    name="ia3_ff",
    paper=ia3.PAPER,
    author=ia3.AUTHOR,
    references=(
        Live("peft:ia3_ff", _build, ia3.OBJECTS, "y' = base(x * ia3_l)  (is_feedforward=True)"),
        Transcribed(
            "authors:ia3_ff",
            lambda layer, settings: ia3.build_authors(layer, settings, "a"),
            "transcriptions/ia3.py",
            ("ia3_input_side", "ia3_both_sides", "ia3_ff_gate"),
            "y = (x * a) W^T + b; on wo the same as their gate on the output of wi_1",
            checks=WEIGHTS_ONLY,
        ),
        ClosedForm(
            "closed:ia3_ff",
            _effective,
            "W' = W diag(g), b' = b; g = 1 at t=0",
            draw=lambda rng, W, settings: {"g": np.ones(W.shape[1])},
            pullback=lambda t, W, b, settings, G, h: {"g": (G * W).sum(axis=0)},
        ),
    ),
)
