"""HRA in peft and in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from refs.adjoints.layerwise import projector, reflections
from refs.live import build_peft
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import TRANSPOSED, Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import hra as authors

NAMES = {"U": ("hra_u.default", TRANSPOSED)}

EPS = 6e-5
"""The default of the authors' output-side layer."""

OBJECTS = (
    "peft/tuners/hra/layer.py::HRALinear",
    "peft/tuners/hra/layer.py::HRALayer",
    "peft/tuners/tuners_utils.py::cast_adapter_dtype",
)


def _build(layer: nn.Linear, settings: Settings, *, paired: bool = True) -> Subject:
    from peft import HRAConfig

    gram_schmidt = settings.option("gram_schmidt", False)
    config = HRAConfig(r=settings.r, apply_GS=gram_schmidt, init_weights=paired, target_modules=["layer"])
    return build_peft(layer, config, NAMES, settings)


def on_input(settings: Settings) -> bool:
    """Whether the reflections act on the input, as peft's do."""
    return bool(settings.option("side", "input") == "input")


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    identity = np.eye(t["U"].shape[1])
    if settings.option("gram_schmidt", False):
        Q, _ = np.linalg.qr(t["U"].T)
        R = identity - 2 * Q @ Q.T
    else:
        R, eps = identity, 0.0 if on_input(settings) else settings.option("eps", EPS)
        for u in t["U"]:
            R = R @ (identity - 2 * np.outer(u, u) / (u @ u + eps))
    return (W @ R if on_input(settings) else R.T @ W), b


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    half = nn.init.kaiming_uniform_(torch.empty(layer.in_features, settings.r // 2), a=math.sqrt(5))
    config = authors.Config(settings.r, "input", settings.option("gram_schmidt", False))
    drawn = {"U": half.T.repeat_interleave(2, dim=0)}
    return build_transcribed(layer, authors.INPUT_SIDE, config, settings, trainable=("U",), drawn=drawn)


def _build_output_side(layer: nn.Linear, settings: Settings) -> Subject:
    gram_schmidt, eps = settings.option("gram_schmidt", False), settings.option("eps", EPS)
    config = authors.Config(settings.r, "output", gram_schmidt, 0.0 if gram_schmidt else eps)
    tall = torch.empty(layer.out_features, settings.r)
    drawn = {} if gram_schmidt else {"U": nn.init.kaiming_uniform_(tall, a=1 / eps).T}
    return build_transcribed(layer, authors.OUTPUT_SIDE, config, settings, trainable=("U",), drawn=drawn)


def _draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
    """Pairs, uniform on +-1/sqrt(r / 2); on the output side vectors of eps sqrt(6 / r), or the first unit rows."""
    r, (d_out, d_in) = settings.r, W.shape
    if not on_input(settings):
        bound = settings.option("eps", EPS) * np.sqrt(6 / r)
        single = settings.option("gram_schmidt", False)
        return {"U": np.eye(r, d_out) if single else rng.uniform(-bound, bound, (r, d_out))}
    bound = 1 / np.sqrt(r // 2)
    return {"U": np.repeat(rng.uniform(-bound, bound, (r // 2, d_in)), 2, axis=0)}


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    GR = W.T @ G if on_input(settings) else W @ G.T
    if settings.option("gram_schmidt", False):
        return {"U": projector(t["U"], GR)}
    return {"U": reflections(t["U"], 0.0 if on_input(settings) else settings.option("eps", EPS), GR)}


METHOD = Method(
    name="hra",
    paper=Paper(
        "2405.17484",
        "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
    ),
    author=Author(
        "https://github.com/DaShenZi721/HRA",
        "nlu/adapterlib/layers.py",
        "8e0c6371e4928df6f69a56baae4ff90fb2619ccb",
        "89dad501e167c53adfb58e8427a3c33312a280985bc3b8d29768fa5e506edce5",
    ),
    references=(
        Live(
            "peft:hra",
            _build,
            OBJECTS,
            "y' = (W R) x + b,  R = I; for i in 0..r-1: R = R (I - 2 u_i u_i^T / |u_i|^2)",
            covers=on_input,
        ),
        Live(
            "peft:hra_unpaired",
            partial(_build, paired=False),
            OBJECTS,
            "as peft:hra, with init_weights=False: U uniform on +-1/sqrt(r), the start that Gram-Schmidt can use",
            options=(("gram_schmidt", True),),
            covers=on_input,
            checks=("references", "init"),
        ),
        Transcribed(
            "authors:hra",
            _build_authors,
            "transcriptions/hra.py",
            authors.INPUT_SIDE.variants,
            "W_eff = W H_0 H_1 ... H_{r-1}, the layers of the authors' nlu and generation code",
            covers=lambda settings: on_input(settings) and settings.r % 2 == 0,
        ),
        Transcribed(
            "authors:hra_output",
            _build_output_side,
            "transcriptions/hra.py",
            (*authors.OUTPUT_SIDE.variants, "hra_orth_reg"),
            "W_eff = H_{r-1} ... H_0 W, H_i = I - 2 u_i u_i^T / (|u_i|^2 + eps), the authors' llama layers\n"
            "their script adds | I_r - V V^T |_F to the loss, V the normalised rows of U",
            options=(("side", "output"),),
            covers=lambda settings: not on_input(settings),
            penalty=authors.orth_reg,
        ),
        ClosedForm(
            "closed:hra",
            _effective,
            "W' = W H_0 ... H_{r-1} (with Gram-Schmidt W (I - 2 Q Q^T)), b' = b\n"
            "output side: H_{r-1} ... H_0 W, with eps beside |u_i|^2",
            draw=_draw,
            pullback=_pullback,
        ),
    ),
)
