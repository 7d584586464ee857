"""LoRA on the principal part of the weight (PiSSA, arXiv 2404.02948), as peft 0.21.2 initialises it.

    s = alpha / r    (alpha / sqrt(r) with rsLoRA)
    start:    W = U diag(S) Vh  (S descending),   A = diag(sqrt(S_r / s)) Vh_r,   B = U_r diag(sqrt(S_r / s)),
              W_res = W - s B A
    forward:  y = x (W_res + s B A)^T + b

    A: (r, d_in)   B: (d_out, r)

A fast start replaces U_r, S_r, Vh_r by those of Q Q^T M, M the taller of W and W^T, after ``niter`` rounds of
subspace iteration from a Gaussian test matrix G: Q = qr(M G), then Q = qr(M qr(M^T Q)). W_res + s B A = W there too.
The signs of the factors' columns are not determined; their products are. With a base weight in bfloat16, A and B are
rounded to it after the exact s B A was subtracted, so W_res + s B A is W only up to that rounding.

Source: peft 0.21.2: peft/tuners/lora/layer.py (``pissa_init``), which https://github.com/GraphPKU/PiSSA calls in
init_pissa.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.transcription import RESIDUAL, Transcription

NAMES = {"A": ("lora_A.weight", AS_IS), "B": ("lora_B.weight", AS_IS)}


@dataclass(frozen=True)
class Config:
    """``niter``: rounds of subspace iteration; None for the exact decomposition."""

    r: int
    alpha: float
    rslora: bool = False
    niter: int | None = None

    @property
    def s(self) -> float:
        """What scales the update."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)


def read_config(vector: Vector) -> Config:
    config = vector.config
    _, _, rounds = config["init_lora_weights"].partition("pissa_niter_")
    return Config(config["r"], config["lora_alpha"], config["use_rslora"], int(rounds) if rounds else None)


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    return W + config.s * tensors["B"] @ tensors["A"], bias


def initial(
    W: Tensor,
    config: Config,
    inputs: Tensor | None = None,
    mask: Tensor | None = None,
    test_matrix: Tensor | None = None,
) -> dict[str, Tensor]:
    """A, B and W_res. ``test_matrix: (min(d_in, d_out), r)`` is what the fast start drew."""
    if config.niter is None:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    elif test_matrix is None:
        raise ValueError(
            "got no test_matrix for a start by subspace iteration, want the (min(d_in, d_out), r) one drawn"
        )
    else:
        U, S, Vh = iterated(W, test_matrix, config.niter)
    root = (S[: config.r] / config.s).sqrt()
    A, B = root[:, None] * Vh[: config.r], U[:, : config.r] * root
    return {"A": A, "B": B, "W_res": W - config.s * B @ A}


def iterated(W: Tensor, test_matrix: Tensor, niter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Approximate leading singular triplets of W by subspace iteration."""
    wide = W.shape[0] < W.shape[1]
    M = W.T if wide else W
    Q, _ = torch.linalg.qr(M @ test_matrix)
    for _ in range(niter):
        Q, _ = torch.linalg.qr(M.T @ Q)
        Q, _ = torch.linalg.qr(M @ Q)
    U, S, Vh = torch.linalg.svd(Q.T @ M, full_matrices=False)
    return (Vh.T, S, (Q @ U).T) if wide else (Q @ U, S, Vh)


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"delta_W": config.s * tensors["B"] @ tensors["A"], "scaling": torch.tensor([config.s], dtype=W.dtype)}


TRANSCRIPTION = Transcription(
    name="pissa",
    variants=("pissa",),
    arxiv="2404.02948",
    names=NAMES,
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
