"""PiSSA in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from refs.live import build_peft
from refs.methods import lora
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper
from refs.settings import Settings
from refs.subject import Subject

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
        ClosedForm("closed:pissa", _effective, "W' = W_res + s B A, b' = b"),
    ),
    replaces_weight=True,
    sign_free=sign_free,
)
