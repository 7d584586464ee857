"""A dense block on the first singular directions, gains on the rest (AntiPaSTO family, arXiv 2601.07473).

    K     = diag( I_b + coeff M,  diag(E(coeff g)) )        E(z) = 1 + ELU(z)
    W_eff = W_res + U K diag(S) Vh
    y     = x W_eff^T + b

    U: (d_out, r)   S: (r,)   Vh: (r, d_in)   M: (b, b)   g: (r - b,)

M[i, j] takes the S_j-scaled input coordinate j to the output direction i. Identity at the start (M = 0, g = 0) and at
coeff = 0. ``suppress_only`` uses min(g, 0) and leaves M alone. Selection as in antipasto.

Source: https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto_arrow.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.orthogonal import block_diagonal
from refs.transcriptions.svd_family import FACTORS, GAIN, gain, selected
from refs.transcriptions.transcription import RESIDUAL, Transcription

NAMES = {**FACTORS, **GAIN, "M": ("lora_M", AS_IS)}


@dataclass(frozen=True)
class Config:
    """The authors' defaults."""

    r: int = 256
    block: int = 8
    coeff: float = 1.0
    suppress_only: bool = False
    pool: str = "rms"


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["block"], config["coeff"], config["suppress_only"], config["act_pool"])


def core(M: Tensor, g: Tensor, config: Config) -> Tensor:
    """K of the formula, (r, r)."""
    identity = torch.eye(M.shape[0], dtype=M.dtype, device=M.device)
    rest = torch.diag(gain(g, config.coeff, config.suppress_only))
    return block_diagonal(identity + config.coeff * M, rest)


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    K = core(tensors["M"], tensors["g"], config)
    return W + tensors["U"] @ K @ (tensors["S"][:, None] * tensors["Vh"]), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh, W_res, M = 0 and g = 0. A mask is ignored: every row counts."""
    b = config.block
    return {
        **selected(W, config.r, inputs, config.pool),
        "M": W.new_zeros(b, b),
        "g": W.new_zeros(config.r - b),
    }


TRANSCRIPTION = Transcription(
    name="antipasto_arrow",
    variants=("antipasto_arrow",),
    arxiv="2601.07473",
    names=NAMES,
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
