"""Gains on singular values (AntiPaSTO, arXiv 2601.07473), as in the authors' torch variant.

    W_eff = W_res + U diag(S E(coeff g)) Vh        E(z) = 1 + ELU(z)
    y     = x W_eff^T + b

    U: (d_out, r)   S, g: (r,)   Vh: (r, d_in)

Identity at the start (g = 0) and at coeff = 0. ``suppress_only`` uses min(g, 0). The triplets are those of W that
calibration inputs excite most, or the r largest without inputs; padding is not masked out.

Source: https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from refs.golden_vectors import Vector
from refs.transcriptions.svd_family import FACTORS, GAIN, gain, product, selected
from refs.transcriptions.transcription import RESIDUAL, Transcription


@dataclass(frozen=True)
class Config:
    """The authors' defaults."""

    r: int = 256
    coeff: float = 1.0
    suppress_only: bool = False
    pool: str = "rms"


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["coeff"], config["suppress_only"], config["act_pool"])


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    steered = tensors["S"] * gain(tensors["g"], config.coeff, config.suppress_only)
    return W + product(tensors["U"], steered, tensors["Vh"]), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh, W_res and g = 0. A mask is ignored: every row counts."""
    return {**selected(W, config.r, inputs, config.pool), "g": W.new_zeros(config.r)}


TRANSCRIPTION = Transcription(
    name="antipasto",
    variants=("antipasto",),
    arxiv="2601.07473",
    names={**FACTORS, **GAIN},
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
