"""PiSSA in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refs.live import build_peft
from refs.methods import lora
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import WEIGHTS_ONLY, build_transcribed
from refs.transcriptions import pissa as authors

NAMES = lora.NAMES

OBJECTS = ("peft/tuners/lora/layer.py::LoraLayer.pissa_init", *lora.OBJECTS)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    """peft decomposes no float64 weight: such a layer is rounded to float32 for it, and cast back with the result."""
    exact = layer.weight.dtype == torch.float64
    bias = None if layer.bias is None else layer.bias.detach().clone()
    if exact:
        layer.to(torch.float32)  # in place: peft wraps, and the subject keeps, this very layer
    config = lora.lora_config(settings)
    niter = settings.option("niter", None)
    config.init_lora_weights = "pissa" if niter is None else f"pissa_niter_{niter}"
    subject = build_peft(layer, config, NAMES, settings)
    if exact:
        (subject.host if settings.dtype is None else layer).to(torch.float64)
        if bias is not None:
            layer.bias.data.copy_(bias)  # which nothing decomposes
    return subject


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    niter = settings.option("niter", None)
    config = authors.Config(settings.r, settings.alpha, settings.option("rslora", False), niter)

    def initial(W: Tensor, c: Any, *rest: Any) -> Mapping[str, Tensor]:
        drawn = None if niter is None else torch.randn(min(W.shape), settings.r, dtype=W.dtype)
        return authors.initial(W, c, test_matrix=drawn)

    return build_transcribed(
        layer,
        replace(authors.TRANSCRIPTION, initial=initial),
        config,
        settings,
        trainable=("A", "B"),
        core=lambda t: config.s * t["B"] @ t["A"],
    )


def sign_free(t: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """The start without the signs that each pair of singular vectors may have: its r terms, and how each is shared."""
    return {
        "b_i a_i^T": torch.einsum("oi,ik->iok", t["B"], t["A"]),
        "|a_i|": torch.linalg.vector_norm(t["A"], dim=1),
        "|b_i|": torch.linalg.vector_norm(t["B"], dim=0),
        "W_res": t["W_res"],
    }


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return W + lora.scale(settings) * t["B"] @ t["A"], b


def _draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    """The r leading terms of W, the roots of their singular values over s on either side, and what is left of W."""
    U, S, Vh = np.linalg.svd(W, full_matrices=False)
    r, s = settings.r, lora.scale(settings)
    root = np.sqrt(S[:r] / s)
    A, B = root[:, None] * Vh[:r], U[:, :r] * root
    return {"A": A, "B": B, "W_res": W - s * B @ A}


METHOD = Method(
    name="pissa",
    paper=Paper(
        "2404.02948", "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models"
    ),
    author=Author(
        "https://github.com/GraphPKU/PiSSA",
        "init_pissa.py",
        "0546949c4122060c9a0b721ee5db3a6f63441529",
        "ec656f752103a6ea0a2e28894d23237f589b485fb19a7a7dd787e1838f2da658",
    ),
    references=(
        Live(
            "peft:pissa",
            _build,
            OBJECTS,
            "y' = (W - s B0 A0) x + b + s * lora_B(lora_A(dropout(x)))\n"
            "B0 A0 from the float32 SVD of W, singular values divided by s",
        ),
        Transcribed(
            "authors:pissa",
            _build_authors,
            "transcriptions/pissa.py",
            authors.TRANSCRIPTION.variants,
            "A = diag(sqrt(S_r / s)) Vh_r, B = U_r diag(sqrt(S_r / s)), W_res = W - s B A, y = x (W_res + s B A)^T + b",
            covers=lambda settings: not settings.option("dropout", 0.0),
            checks=WEIGHTS_ONLY,
        ),
        ClosedForm(
            "closed:pissa",
            _effective,
            "W' = W_res + s B A, b' = b; s B A starts as the r leading terms of W",
            draw=_draw,
            tells=lambda settings: settings.option("niter", None) is None,  # else from a random matrix
            pullback=lora._pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=sign_free,
)
