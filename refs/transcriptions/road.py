"""Rotation and scaling of adjacent pairs (RoAd, arXiv 2409.00119), as in the author's development fork.

    c_j = scale cos(angle),  s_j = scale sin(angle)
    R[2i, 2i] = c_{2i},  R[2i, 2i+1] = -s_{2i},  R[2i+1, 2i] = s_{2i+1},  R[2i+1, 2i+1] = c_{2i+1}

    output side    y = (x W^T + b) R^T, so W' = R W and b' = R b        (the bias is turned along)
    input side     y = (x R^T) W^T + b, so W' = W R

    variant 1    angles and scales: (1, d/2), one per pair
    variant 2    (1, d), one per coordinate
    variant 4    (2, d), the first row for c, the second for s

There are no groups: the pairs are neighbours, which is peft's ``group_size`` 2. All angles start at 0, all scales at 1.
The released repository holds no code; the fork calls the method rosa.

Source: https://github.com/BaohaoLiao/pyreft at 38dfe268: examples/loreft/src*/peft/tuners/lora/layer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.transcription import ORIGINAL, Transcription

NAMES = {"theta": ("lora_A.weight", AS_IS), "alpha": ("lora_B.weight", AS_IS)}
ROWS = {"1": 1, "2": 1, "4": 2}


@dataclass(frozen=True)
class Config:
    """``kind``: 1, 2 or 4. ``side``: output or input."""

    kind: str = "1"
    side: str = "output"


def read_config(vector: Vector) -> Config:
    kind, _, before = vector.config["variant"].partition("_")
    return Config(kind, "input" if before else "output")


def rotation(theta: Tensor, alpha: Tensor, config: Config) -> Tensor:
    """R of the formula: ``(d, d)``."""
    if config.kind == "1":
        theta, alpha = theta.repeat_interleave(2, dim=1), alpha.repeat_interleave(2, dim=1)
    c, s = alpha[0] * theta[0].cos(), alpha[-1] * theta[-1].sin()
    first = torch.arange(0, len(c), 2)
    R = torch.diag(c)
    R = R.index_put((first, first + 1), -s[first])
    return R.index_put((first + 1, first), s[first + 1])


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    R = rotation(tensors["theta"], tensors["alpha"], config)
    if config.side == "input":
        return W @ R, bias
    return R @ W, None if bias is None else R @ bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Angles and scales."""
    d = W.shape[0] if config.side == "output" else W.shape[1]
    shape = (ROWS[config.kind], d // 2 if config.kind == "1" else d)
    return {"theta": W.new_zeros(shape), "alpha": W.new_ones(shape)}


TRANSCRIPTION = Transcription(
    name="road",
    variants=("road_1", "road_2", "road_4", "road_1_before", "road_4_before"),
    arxiv="2409.00119",
    names=NAMES,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
