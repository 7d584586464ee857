"""Shifts of singular values and block rotations of their bases (AntiPaSTO family, arXiv 2601.07473).

    A[i<j] = L tanh(theta / (2 L)) per block, row by row,  A = -A^T,  L = 2 tan(max_angle / 2)
    R(theta) = blockdiag( (I - A/2)^-1 (I + A/2) )
    V:     Vh' = R(theta) Vh,  U' = U
    U:     Vh' = Vh,           U' = U R(theta)^T
    both:  Vh' = R(theta) Vh,  U' = U R(theta_u)^T
    W_eff  = W_res + U' diag(S + delta) Vh'
    y      = x W_eff^T + b

    U: (d_out, r)   S, delta: (r,)   Vh: (r, d_in)   theta, theta_u: (r/n, n(n-1)/2) for blocks of n

Almost the identity at the start: the angles are zero, delta is drawn from 4e-4 + N(0, (4e-4)^2). Selection as in
antipasto, always by the mean of |.|.

Source: https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto_rot.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.orthogonal import block_rotation
from refs.transcriptions.svd_family import FACTORS, product, selected
from refs.transcriptions.transcription import RESIDUAL, Transcription

NAMES = {
    **FACTORS,
    "delta": ("lora_delta_s", AS_IS),
    "theta": ("lora_rot_T", AS_IS),
    "theta_u": ("lora_rot_T_u", AS_IS),
}
POOL = "mean_abs"


@dataclass(frozen=True)
class Config:
    """The authors' defaults. ``basis``: V, U, both or none."""

    r: int = 256
    block_size: int = 4
    basis: str = "V"
    max_angle: float = 0.5


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["block_size"], config["rotate_basis"], config["max_rotation_angle"])


def rotation(theta: Tensor, config: Config) -> Tensor:
    """R of the formula, (r, r)."""
    return block_rotation(theta, config.block_size, config.max_angle)


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    U, Vh = tensors["U"], tensors["Vh"]
    if config.basis in ("V", "both"):
        Vh = rotation(tensors["theta"], config) @ Vh
    if config.basis in ("U", "both"):
        U = U @ rotation(tensors["theta_u" if config.basis == "both" else "theta"], config).T
    return W + product(U, tensors["S"] + tensors["delta"], Vh), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh, W_res and zero angles. A mask is ignored: every row counts."""
    n = config.block_size
    angles = W.new_zeros(config.r // n, n * (n - 1) // 2)
    names = {"none": (), "both": ("theta", "theta_u")}.get(config.basis, ("theta",))
    return {**selected(W, config.r, inputs, POOL), **{name: angles.clone() for name in names}}


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    recorded = {"R": "theta", "R_u": "theta_u"}
    return {part: rotation(tensors[name], config) for part, name in recorded.items() if name in tensors}


TRANSCRIPTION = Transcription(
    name="antipasto_rot",
    variants=("antipasto_rot",),
    arxiv="2601.07473",
    names=NAMES,
    base=RESIDUAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
