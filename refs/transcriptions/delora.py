"""Normalised low-rank update minus a frozen copy of its start (DeLoRA, arXiv 2503.18225), as in the authors' layer.

    N(B, A) = sum_i  b_i a_i^T / (|b_i| |a_i|)          b_i column i of B, a_i row i of A; no clamp of the norms
    W'      = W + (lam / r) (N(B, A) - N(D, C)) diag(w)        w_j = |W[:, j]|, a constant for the gradient
    y       = x W'^T + b

    A, C: (r, d_in)   B, D: (d_out, r)   lam: scalar   w: (d_in,)

Starts at W' = W: C and D are copies of A and B as drawn, and never trained. lam has no gradient there, A and B have.
In the authors' module the copies share storage with A and B until a real copy parts them; here they are tensors of
their own.

Source: https://github.com/ExplainableML/DeLoRA at 82bfcb01: peft/src/peft/tuners/delora.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.transcription import ORIGINAL, Transcription

NAMES = {
    "A": ("delora_A.weight", AS_IS),
    "B": ("delora_B.weight", AS_IS),
    "C": ("frozen_C", AS_IS),
    "D": ("frozen_D", AS_IS),
    "lam": ("delora_lambda", AS_IS),
}


@dataclass(frozen=True)
class Config:
    """The rank; everything else is a tensor."""

    r: int = 8


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"])


def normalised(B: Tensor, A: Tensor) -> Tensor:
    """N(B, A): the sum of r matrices of rank and norm one."""
    left: Tensor = B / B.norm(dim=0)
    right: Tensor = A / A.norm(dim=1, keepdim=True)
    return left @ right


def update(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> Tensor:
    """What is added to W."""
    moved = normalised(tensors["B"], tensors["A"]) - normalised(tensors["D"], tensors["C"])
    w: Tensor = W.detach().norm(dim=0)
    return tensors["lam"] / config.r * moved * w


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    return W + update(tensors, W, config), bias


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"delta_W": update(tensors, W, config)}


TRANSCRIPTION = Transcription(
    name="delora",
    variants=("delora",),
    arxiv="2503.18225",
    names=NAMES,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
)
