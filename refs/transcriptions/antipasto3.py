"""SVD steering with a strength per call (AntiPaSTO3, arXiv 2601.07473): the Flax layer, in torch's convention.

    A[i<j] = L tanh(theta / (2 L)) per block, row by row,  A = -A^T,  L = 2 tan(max_angle / 2)
    R      = blockdiag( (I - alpha A/2)^-1 (I + alpha A/2) ),   R(-alpha) = R(alpha)^T
    V:     Vh' = R^T Vh        U:  U' = U R        both: the same R for both
    W_eff  = W_res + U' diag(S + alpha delta) Vh'
    y      = x W_eff^T, without a bias

    U: (d_out, r)   S, delta: (r,)   Vh: (r, d_in)   theta: (r/n, n(n-1)/2) for blocks of n   W_res: (d_out, d_in)

A Flax kernel is the transpose of a torch weight: its svd_U holds Vh^T, its svd_Vh holds U^T, and its rotate_U (on by
default) is V here. The rotation turns the other way round than in antipasto_rot. At alpha = 0 the output is that of W
up to the rounding of W_res, which is kept in bfloat16. delta starts at 4e-4 (1 + t) and theta at 1e-4 t, t a standard
normal within two sigma. r is rounded down to whole blocks.

Source: https://github.com/wassname/antipasto3, svd_adapter.py, from the snapshot in
https://github.com/wassname/lora-lite at d0b4c52: docs/refs/antipasto3_svd_adapter.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS, TRANSPOSED
from refs.transcriptions.antipasto3_selection import polarity_interleave, score_l1_trip
from refs.transcriptions.orthogonal import block_rotation
from refs.transcriptions.svd_family import kept, product
from refs.transcriptions.transcription import Transcription

NAMES = {
    "U": ("svd_Vh", TRANSPOSED),
    "S": ("svd_S", AS_IS),
    "Vh": ("svd_U", TRANSPOSED),
    "delta": ("delta_s", AS_IS),
    "theta": ("rotation_params", AS_IS),
}
BASIS = {(True, False): "V", (False, True): "U", (True, True): "both", (False, False): "none"}
"""By the Flax layer's (rotate_U, rotate_V)."""


@dataclass(frozen=True)
class Config:
    """``basis``: V, U, both or none. ``indices``: of the triplets to keep, in order; None for the r largest."""

    r: int
    block_size: int = 4
    alpha: float = 1.0
    basis: str = "V"
    max_angle: float = 0.5
    shift: bool = True
    indices: tuple[int, ...] | None = None


def read_config(vector: Vector) -> Config:
    config, indices = vector.config, vector.tensors.get("selected_indices")
    return Config(
        r=config["r_requested"],
        block_size=config["block_size"],
        alpha=config["alpha"],
        basis=BASIS[config["rotate_U"], config["rotate_V"]],
        max_angle=config["max_angle"],
        shift=config["use_delta_s"],
        indices=None if indices is None else tuple(indices.tolist()),
    )


def rotation(theta: Tensor, config: Config) -> Tensor:
    """R of the formula, (r, r)."""
    return block_rotation(theta, config.block_size, config.max_angle, config.alpha)


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    R = rotation(tensors["theta"], config)
    U = tensors["U"] @ R if config.basis in ("U", "both") else tensors["U"]
    Vh = R.T @ tensors["Vh"] if config.basis in ("V", "both") else tensors["Vh"]
    S = tensors["S"] + config.alpha * tensors["delta"] if config.shift else tensors["S"]
    return W + product(U, S, Vh), None


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, Vh and W_res."""
    rank = min(config.r, *W.shape)
    size = min(config.block_size, rank)
    factors = kept(W, config.indices or range(rank - rank % size))
    return {**factors, "W_res": factors["W_res"].to(torch.bfloat16).to(W.dtype)}


def chosen(W: Tensor, inputs: Tensor, r: int, interleave: bool) -> tuple[int, ...]:
    """Which triplets of W rows of chosen and rejected answers select, in order. ``inputs: (2 n, d_in)``.

    Polarity has the sign that the decomposition of W, in its own dtype, gave each direction.
    """
    _, S, Vh = torch.linalg.svd(W, full_matrices=False)
    S, Vh = S.to(inputs.dtype), Vh.to(inputs.dtype)
    activations = inputs @ Vh.T
    indices = score_l1_trip(S, activations, r)
    return tuple(polarity_interleave(activations, indices) if interleave else indices)


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"R": rotation(tensors["theta"], config)}


TRANSCRIPTION = Transcription(
    name="antipasto3",
    variants=("antipasto3",),
    arxiv="2601.07473",
    names=NAMES,
    base=("svd_W_res", TRANSPOSED),
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
