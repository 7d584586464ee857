"""Partial removal of learned output directions (AntiPaSTO family, arXiv 2601.07473).

    W_eff = W_res + U (I - coeff Q diag(a) Q^T) diag(S) Vh
    y     = x W_eff^T + b
    a     = min(max(alpha, 0), 1)        gradient 1 inside and exactly at the ends, 0 outside
    Q     = c / (|c| + 1e-6) for k = 1;  gram_schmidt(columns of c) for k > 1

    U: (d_out, r)   S: (r,)   Vh: (r, d_in)   c, Q: (r, k)   alpha: (k,)

Not the identity at the start (alpha = 0.05): at 0 the directions c would get no gradient. The identity at coeff = 0.
The sign of Q's columns does not matter. With ``orient`` and inputs, Vh holds the oblique P of antipasto_corda, over all
rows: a mask is ignored. Without either, the r largest triplets of W.

Source: https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto_ablate.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.orthogonal import gram_schmidt
from refs.transcriptions.svd_family import FACTORS, kept, oriented
from refs.transcriptions.transcription import RESIDUAL, Transcription

NAMES = {**FACTORS, "c": ("lora_c", AS_IS), "alpha": ("lora_alpha", AS_IS)}
NORM_EPS = 1e-6


@dataclass(frozen=True)
class Config:
    """The authors' defaults. ``alpha``: its value at the start."""

    r: int = 256
    k: int = 1
    coeff: float = 1.0
    alpha: float = 0.05
    orient: bool = False
    eps: float = 1e-3


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(
        config["r"], config["k"], config["coeff"], config["init_alpha"], config["cov_orient"], config["cov_eps"]
    )


def directions(c: Tensor) -> Tensor:
    """Q of the formula."""
    return c / (c.norm() + NORM_EPS) if c.shape[1] == 1 else gram_schmidt(c)


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    Q = directions(tensors["c"])
    h = tensors["S"][:, None] * tensors["Vh"]
    removed = (Q * tensors["alpha"].clamp(0, 1)) @ (Q.T @ h)
    return W + tensors["U"] @ (h - config.coeff * removed), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh, W_res and alpha; c is drawn from N(0, 1/r). A mask is ignored: every row counts."""
    if config.orient and inputs is not None:
        factors = oriented(W, config.r, inputs, config.eps)
        factors["Vh"] = factors.pop("P")
    else:
        factors = kept(W, range(config.r))
    return {**factors, "alpha": torch.full((config.k,), config.alpha, dtype=torch.float64)}


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"Q": directions(tensors["c"])}


TRANSCRIPTION = Transcription(
    name="antipasto_ablate",
    variants=("antipasto_ablate",),
    arxiv="2601.07473",
    names=NAMES,
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
