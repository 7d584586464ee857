"""A low-rank update (LoRA, arXiv 2106.09685), as in the authors' layer.

    s = alpha / r
    y = x W^T + b + s (x A^T) B^T        A: (r, d_in)   B: (d_out, r)

The bias is added once and not scaled; dropout acts on the adapter's input only. A starts as ``nn.Linear``'s own weight
does, uniform on +-1/sqrt(d_in), and B at zero (the paper draws A from a normal distribution). In eval mode the authors'
layer merges into W by default. The repository has no rank-stabilised scale.

Source: https://github.com/microsoft/LoRA at cb3c0772: loralib/layers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS
from refs.transcriptions.transcription import ORIGINAL, Transcription

NAMES = {"A": ("lora_A", AS_IS), "B": ("lora_B", AS_IS)}


@dataclass(frozen=True)
class Config:
    """The authors' layer has no adapter by default (r = 0). ``rounded``: s as a vector recorded it, in its dtype."""

    r: int
    alpha: float = 1.0
    rounded: float | None = None

    @property
    def s(self) -> float:
        """What scales the update."""
        return self.alpha / self.r if self.rounded is None else self.rounded


def read_config(vector: Vector) -> Config:
    config = vector.config
    return Config(config["r"], config["lora_alpha"], vector.tensors["scaling"].item())


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    return W + config.s * tensors["B"] @ tensors["A"], bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """B; A is drawn."""
    return {"B": W.new_zeros(W.shape[0], config.r)}


def _parts(tensors: Mapping[str, Tensor], W: Tensor, config: Config) -> dict[str, Tensor]:
    return {"scaling": torch.tensor([config.alpha / config.r], dtype=W.dtype)}


TRANSCRIPTION = Transcription(
    name="lora",
    variants=("lora_linear",),
    arxiv="2106.09685",
    names=NAMES,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    parts=_parts,
    initial=initial,
)
