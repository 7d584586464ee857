"""Gains on covariance-oriented directions (AntiPaSTO family, arXiv 2601.07473; orientation after CorDA, 2406.05223).

    C     = E[x x^T] + eps I over calibration inputs, padding masked out
    W C^(1/2) = U diag(S) Vt,   P = Vt_r C^(-1/2),   W_res = W - U diag(S) P
    W_eff = W_res + U diag(S E(coeff g)) P        E(z) = 1 + ELU(z)
    y     = x W_eff^T + b

    U: (d_out, r)   S, g: (r,)   P: (r, d_in), rows not orthonormal

Identity at the start (g = 0) and at coeff = 0. eps is absolute. Needs calibration inputs.

Source: https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto_corda.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.svd_family import FACTORS, GAIN, gain, oriented, product
from refs.transcriptions.transcription import RESIDUAL, Transcription

NAMES = {"U": FACTORS["U"], "S": FACTORS["S"], "P": ("lora_P", AS_IS), **GAIN}


@dataclass(frozen=True)
class Config:
    """The authors' defaults."""

    r: int = 256
    coeff: float = 1.0
    suppress_only: bool = False
    eps: float = 1e-3


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["coeff"], config["suppress_only"], config["cov_eps"])


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    steered = tensors["S"] * gain(tensors["g"], config.coeff, config.suppress_only)
    return W + product(tensors["U"], steered, tensors["P"]), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, P, W_res and g = 0. ValueError without inputs."""
    if inputs is None:
        raise ValueError("got no inputs, want the calibration inputs whose covariance orients the factors")
    return {**oriented(W, config.r, inputs, config.eps, mask), "g": W.new_zeros(config.r)}


TRANSCRIPTION = Transcription(
    name="antipasto_corda",
    variants=("antipasto_corda",),
    arxiv="2601.07473",
    names=NAMES,
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
