"""DeLoRA in peft and in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from refs.adjoints.low_rank import normalised as pullback
from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import AS_IS, Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import delora as authors

NAMES = {
    "A": ("delora_A.default", AS_IS),
    "B": ("delora_B.default", AS_IS),
    "lam": ("delora_lambda.default", AS_IS),
}
W_NORM = ("delora_w_norm.default", AS_IS)

OBJECTS = (
    "peft/tuners/delora/layer.py::DeloraLinear",
    "peft/tuners/delora/layer.py::DeloraLayer",
    "peft/tuners/tuners_utils.py::BaseTunerLayer._move_adapter_to_device_of_base_layer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)


def frozen_copies(settings: Settings) -> bool:
    """Whether the authors' form is asked for; peft does not have it."""
    return bool(settings.option("frozen_copies", False))


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    from peft import DeloraConfig

    config = DeloraConfig(
        r=settings.r,
        delora_lambda=settings.option("lam", 15.0),
        module_dropout=settings.option("dropout", 0.0),
        target_modules=["layer"],
    )
    subject = build_peft(layer, config, NAMES, settings)
    path, view = W_NORM
    subject.names = {**subject.names, "w": (f"layer.{path}", view)}
    if settings.dtype is not None:  # build_peft casts parameters only
        norms = subject.host.get_submodule("layer.delora_w_norm")
        norms["default"] = norms["default"].to(getattr(torch, settings.dtype))  # type: ignore[index, operator]
    return subject


def normalised(A: Array, B: Array, floor: float) -> Array:
    """The sum over i of b_i a_i^T, each divided by its two norms, or by ``floor`` where a norm is smaller."""
    a, b = np.sqrt((A * A).sum(axis=1)), np.sqrt((B * B).sum(axis=0))
    N: Array = (B / np.maximum(b, floor)) @ (A / np.maximum(a, floor)[:, None])
    return N


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    if frozen_copies(settings):
        N = normalised(t["A"], t["B"], 0.0) - normalised(t["C"], t["D"], 0.0)
    else:
        N = normalised(t["A"], t["B"], 1e-4)
    return W + t["lam"] / settings.r * N * t["w"], b


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    """The authors' frozen-copy form. They take |W| anew in each call; a buffer of it is what the variant stores."""
    A = nn.init.kaiming_uniform_(torch.empty(settings.r, layer.in_features), a=math.sqrt(5))
    B = nn.init.kaiming_uniform_(torch.empty(layer.out_features, settings.r), a=math.sqrt(5))
    drawn = {
        "A": A,
        "B": B,
        "lam": torch.tensor([float(settings.option("lam", 15.0))]),
        "C": A.clone(),
        "D": B.clone(),
        "w": layer.weight.detach().double().norm(dim=0),
    }
    return build_transcribed(
        layer, authors.TRANSCRIPTION, authors.Config(settings.r), settings, trainable=("A", "B", "lam"), drawn=drawn
    )


def _draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    """A uniform on +-1/sqrt(d_in), B zero, w = |W|_col; with frozen copies B uniform on +-1/sqrt(r), C = A, D = B."""
    r, (d_out, d_in) = settings.r, W.shape
    A = rng.uniform(-1, 1, (r, d_in)) / np.sqrt(d_in)
    fixed = {"lam": np.array([settings.option("lam", 15.0)]), "w": np.sqrt((W * W).sum(axis=0))}
    if not frozen_copies(settings):
        return {"A": A, "B": np.zeros((d_out, r)), **fixed}
    B = rng.uniform(-1, 1, (d_out, r)) / np.sqrt(r)
    return {"A": A, "B": B, "C": A.copy(), "D": B.copy(), **fixed}


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    frozen = normalised(t["C"], t["D"], 0.0) if frozen_copies(settings) else 0.0
    return pullback(t, settings.r, 0.0 if frozen_copies(settings) else 1e-4, frozen, G)


METHOD = Method(
    name="delora",
    paper=Paper("2503.18225", "Decoupling Angles and Strength in Low-rank Adaptation"),
    author=Author(
        "https://github.com/ExplainableML/DeLoRA",
        "peft/src/peft/tuners/delora.py",
        "82bfcb01e22e111ac0576def75db8e29a27f1851",
        "0973bd68b1446b82eb59cb5a872121fc5f998b36f3943474a43e4549d62dd236",
    ),
    references=(
        Live(
            "peft:delora",
            _build,
            OBJECTS,
            "y' = base(x) + (((dropout(x) * w_norm) A^T) * scaling) B^T\n"
            "scaling = (lambda / r) / (clamp(|A|_row, 1e-4) clamp(|B|_col, 1e-4)), w_norm = |W|_col",
            covers=lambda settings: not frozen_copies(settings),
            cannot=(
                (
                    "*-f32+bf16-*",
                    "to have the same dtype",
                    "peft's DeLoRA does not cast a float32 input to bfloat16 adapter tensors",
                ),
                (
                    "*-f64+f32-*",
                    "to have the same dtype",
                    "peft's DeLoRA does not cast a float64 input to float32 adapter tensors",
                ),
            ),
        ),
        Transcribed(
            "authors:delora",
            _build_authors,
            "transcriptions/delora.py",
            ("delora",),
            "W_eff = W + (lam / r) (N(B, A) - N(D, C)) diag(|W|_col),  N(B, A) = sum_i b_i a_i^T / (|b_i| |a_i|)",
            options=(("frozen_copies", True),),
            covers=lambda settings: frozen_copies(settings) and not settings.option("dropout", 0.0),
            # It computes a difference of weights in at least float32: no measure of rounding along the low-rank path.
            checks=("references", "params", "init", "gradients", "forward", "influence", "trajectory"),
        ),
        ClosedForm(
            "closed:delora",
            _effective,
            "W' = W + (lam / r) N(B, A) diag(w), N the sum of b_i a_i^T over norms of at least 1e-4, b' = b\n"
            "frozen_copies: N(B, A) - N(D, C), norms as they are",
            draw=_draw,
            pullback=_pullback,
        ),
    ),
)
