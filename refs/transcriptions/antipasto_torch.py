"""The authors' first torch layer of AntiPaSTO (arXiv 2601.07473): full rotations of the singular bases.

    A(theta) = theta - theta^T,  then A <- L tanh(A / L),  L = 2 tan(max_angle / 2)    (no clamp from max_angle = pi on)
    R(theta) = (I - alpha A/2)^-1 (I + alpha A/2)   (cayley)    or    exp(alpha A)   (matrix_exp)
    U' = U R(theta_u),   Vh' = R(theta_v)^T Vh      each only where it is switched on
    alpha != 0:  y = x (W_res + U' diag(S + alpha delta) Vh')^T,  the bias is lost
    alpha  = 0:  y = x W^T + b

    U: (d_out, r)   S, delta: (r,)   Vh: (r, d_in)   theta_u, theta_v: (r, r)   W, W_res: (d_out, d_in)

The layer keeps W; W_res is a tensor beside it. theta is skew as drawn (Z - Z^T, Z of std 0.003) and made skew once
more, so A starts at twice its entries. delta is drawn from 4e-4 + N(0, (4e-4)^2).

Source: https://github.com/wassname/AntiPaSTO at 85c09b77: antipasto/peft_utils/antipasto_adapter.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS, TRANSPOSED
from refs.transcriptions.orthogonal import cayley, clamped
from refs.transcriptions.svd_family import kept, product
from refs.transcriptions.transcription import ORIGINAL, Transcription

NAMES = {
    "U": ("antipasto_u", AS_IS),
    "S": ("antipasto_s", AS_IS),
    "Vh": ("antipasto_v", TRANSPOSED),
    "W_res": ("antipasto_w_res", AS_IS),
    "delta": ("antipasto_delta_s", AS_IS),
    "theta_u": ("antipasto_rotation_params_u", AS_IS),
    "theta_v": ("antipasto_rotation_params_v", AS_IS),
}
UNCLAMPED = math.pi - 1e-6


@dataclass(frozen=True)
class Config:
    """The authors' defaults. ``indices``: of the triplets to keep, in order; None for the r largest."""

    r: int = 16
    alpha: float = 1.0
    rotate_u: bool = False
    rotate_v: bool = True
    method: str = "cayley"
    max_angle: float = math.pi / 3
    indices: tuple[int, ...] | None = None


def read_config(vector: Vector) -> Config:
    config = vector.config
    indices = config["indices"]
    return Config(
        r=config["r"],
        alpha=config["alpha"],
        rotate_u=config["rotate_u"],
        rotate_v=config["rotate_v"],
        method=config["rotation_method"],
        max_angle=config["max_rotation_angle"],
        indices=None if indices is None else tuple(indices),
    )


def rotation(theta: Tensor, config: Config) -> Tensor:
    """R of the formula, (r, r)."""
    A = theta - theta.T
    if config.max_angle < UNCLAMPED:
        A = clamped(A, config.max_angle)
    if config.method == "cayley":
        return cayley(config.alpha * A)
    if config.method == "matrix_exp":
        # Of one small matrix torch 2.13 keeps ten digits, of two all.
        R: Tensor = torch.linalg.matrix_exp(torch.stack((config.alpha * A, -config.alpha * A)))[0]
        return R
    raise ValueError(f"got rotation method {config.method!r}, want cayley or matrix_exp")


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    if config.alpha == 0:
        return W, bias
    U = tensors["U"] @ rotation(tensors["theta_u"], config) if config.rotate_u else tensors["U"]
    Vh = rotation(tensors["theta_v"], config).T @ tensors["Vh"] if config.rotate_v else tensors["Vh"]
    return tensors["W_res"] + product(U, tensors["S"] + config.alpha * tensors["delta"], Vh), None


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh and W_res, a tensor beside the layer's own weight here."""
    return kept(W, config.indices or range(config.r))


TRANSCRIPTION = Transcription(
    name="antipasto_torch",
    variants=("antipasto_torch",),
    arxiv="2601.07473",
    names=NAMES,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
