"""Householder reflections on the input or the output side (HRA, arXiv 2405.17484), as in the authors' four layers.

    H_i = I - 2 u_i u_i^T / (|u_i|^2 + eps)        R = H_0 H_1 ... H_{r-1}
    Gram-Schmidt:  Q = gram_schmidt(u_0, ..., u_{r-1}),  R = I - 2 Q Q^T

    input side     y = x (W R)^T + b          U: (r, d_in)
    output side    y = (x W^T) R + b          U: (r, d_out), so the weight is R^T W = H_{r-1} ... H_0 W

Rows of U are the vectors. The input-side layers have no eps and start at vectors in equal pairs. With eps > 0 an H_i is
no reflection: it multiplies u_i by 1 - 2 |u_i|^2 / (|u_i|^2 + eps), and vectors much shorter than sqrt(eps) are how the
output-side layer starts near the identity. With Gram-Schmidt that layer starts at U = [I_r 0], which negates the first
r outputs.
The regulariser that the output-side script adds to the loss is | I_r - V V^T |_F, V the normalised rows of U.

Source: https://github.com/DaShenZi721/HRA at 8e0c6371: nlu/adapterlib/layers.py, generation/control/hra.py,
generation/subject/oft_utils/attention_processor.py (input), llama/peft/oft/layer.py, layer_GS_HRA.py (output),
llama/finetune_32.py (regulariser).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import TRANSPOSED
from refs.transcriptions.orthogonal import gram_schmidt
from refs.transcriptions.transcription import ORIGINAL, Transcription

ON_INPUT = {"U": ("hra_u", TRANSPOSED)}
ON_OUTPUT = {"U": ("oft_r", TRANSPOSED)}


@dataclass(frozen=True)
class Config:
    """``eps`` is the output-side layer's without Gram-Schmidt; its authors' default there is 6e-5."""

    r: int = 8
    side: str = "input"
    gram_schmidt: bool = False
    eps: float = 0.0


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["side"], config["apply_GS"], config["eps"])


def rotation(U: Tensor, config: Config) -> Tensor:
    """R of the formula, (d, d)."""
    identity = torch.eye(U.shape[1], dtype=U.dtype, device=U.device)
    if config.gram_schmidt:
        Q = gram_schmidt(U.T)
        return identity - 2 * Q @ Q.T
    R = identity
    for u in U:
        R = R - 2 * torch.outer(R @ u, u) / (u @ u + config.eps)
    return R


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    R = rotation(tensors["U"], config)
    return (W @ R if config.side == "input" else R.T @ W), bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U where it is not drawn at random: on the output side with Gram-Schmidt."""
    if config.side == "output" and config.gram_schmidt:
        return {"U": torch.eye(config.r, W.shape[0], dtype=W.dtype, device=W.device)}
    return {}


def paired(half: Tensor) -> Tensor:
    """The input-side start: each row of ``half: (r/2, d_in)`` twice in a row, so that R = I."""
    return half.repeat_interleave(2, dim=0)


def orth_reg(U: Tensor) -> Tensor:
    """How far the normalised rows of U are from orthonormal: a Frobenius norm, not squared."""
    V = U / U.norm(dim=1, keepdim=True)
    distance: Tensor = torch.linalg.matrix_norm(torch.eye(U.shape[0], dtype=U.dtype, device=U.device) - V @ V.T)
    return distance


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"R": rotation(tensors["U"], config)}


INPUT_SIDE = Transcription(
    name="hra_input",
    variants=("hra_nlu", "hra_control", "hra_subject"),
    arxiv="2405.17484",
    names=ON_INPUT,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
OUTPUT_SIDE = Transcription(
    name="hra_output",
    variants=("hra_llama", "hra_llama_gs"),
    arxiv="2405.17484",
    names=ON_OUTPUT,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
