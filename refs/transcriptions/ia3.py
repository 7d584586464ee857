"""Gates on what goes into a layer and on what comes out (IA3, arXiv 2205.05638), as in the authors' one class.

    y = ((x * a) W^T + b) * l        a: (d_in,)   l: (d_out,)

The bias is gated. Keys and values have l alone, and a stays at 1 and frozen. On a gated feed-forward block the authors
put l on the output of wi_1, which is the gate a on the input of wo, as the paper writes it:

    y = (gelu_new(x wi_0^T) * ((x wi_1^T) * l)) wo^T

Both vectors start at exactly 1. The authors' forward passes over a vector that does not train, whatever its value is:
freezing a trained gate gives the bare layer back. These vectors are of layers that train.

Source: https://github.com/r-three/t-few at 114deced: src/models/lora.py, configs/ia3.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu

from refs.golden_vectors import Vector
from refs.subject import FLAT
from refs.transcriptions.transcription import ORIGINAL, Transcription

NAMES = {"a": ("multi_lora_a", FLAT), "g": ("multi_lora_b", FLAT)}


@dataclass(frozen=True)
class Config:
    """The method has no numbers of its own."""


def read_config(vector: Vector) -> Config:
    return Config()


def effective(
    tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Config
) -> tuple[Tensor, Tensor | None]:
    """Either gate may be missing: it is 1 then."""
    weight = W * tensors["a"] if "a" in tensors else W
    if "g" not in tensors:
        return weight, bias
    return tensors["g"][:, None] * weight, None if bias is None else tensors["g"] * bias


def initial(W: Tensor, config: Config, inputs: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Both gates."""
    return {"a": W.new_ones(W.shape[1]), "g": W.new_ones(W.shape[0])}


def feed_forward(x: Tensor, wi_0: Tensor, wi_1: Tensor, wo: Tensor, gate: Tensor, *, on_input: bool) -> Tensor:
    """The block with its gate on the output of wi_1, or on the input of wo."""
    one, _ = effective({} if on_input else {"g": gate}, wi_1, None, Config())
    other, _ = effective({"a": gate} if on_input else {}, wo, None, Config())
    y: Tensor = (gelu(x @ wi_0.T, approximate="tanh") * (x @ one.T)) @ other.T
    return y


def gated_feed_forward(vector: Vector, *, on_input: bool) -> dict[str, Tensor]:
    """What a recorded block computes, by its recorded names, in float64."""
    t = {name: tensor.double() for name, tensor in vector.tensors.items()}
    x, gate = t["x"].requires_grad_(), t["wi_1.multi_lora_b"].requires_grad_()
    wi_0, wi_1, wo = (t[f"{name}.weight"] for name in ("wi_0", "wi_1", "wo"))
    y = feed_forward(x, wi_0, wi_1, wo, gate.reshape(-1), on_input=on_input)
    grads = torch.autograd.grad((y * t["g"]).sum(), (x, gate))
    return {"y": y.detach(), "grad.x": grads[0], "grad.wi_1.multi_lora_b": grads[1]}


TRANSCRIPTION = Transcription(
    name="ia3",
    variants=("ia3_projection", "ia3_input_side", "ia3_both_sides"),
    arxiv="2205.05638",
    names=NAMES,
    base=ORIGINAL,
    read_config=read_config,
    effective=effective,
    initial=initial,
)
