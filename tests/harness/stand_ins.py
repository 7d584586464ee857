"""LoRA and its relatives as other libraries write them: right in ways of their own, or wrong in ways that were seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refs.settings import Settings


class OwnLayer(nn.Linear):
    """LoRA registered on the ``nn.Linear`` itself, with tensors in the layer's dtype, as in loralib."""

    def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, dtype=layer.weight.dtype)
        self.lora_A = nn.Parameter(self.weight.new_empty((r, layer.in_features)))
        self.lora_B = nn.Parameter(self.weight.new_zeros((layer.out_features, r)))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r
        with torch.no_grad():
            self.weight.copy_(layer.weight)
            if layer.bias is not None:
                self.bias.copy_(layer.bias)
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed dtypes raise."""
        return F.linear(x, self.weight, self.bias) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


class Wrapper(nn.Module):
    """LoRA beside the layer, with a buffer of its own and a merge that has no way back, as in litgpt."""

    def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.linear = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, r, bias=False, dtype=layer.weight.dtype)
        self.up = nn.Linear(r, layer.out_features, bias=False, dtype=layer.weight.dtype)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)
        self.register_buffer("alpha", torch.tensor(alpha))
        self.scaling, self.merged = alpha / r, False

    def forward(self, x: Tensor) -> Tensor:
        """The layer, and the adapter unless it is merged."""
        y: Tensor = self.linear(x)
        return y if self.merged else y + self.up(self.down(x)) * self.scaling

    def merge(self) -> None:
        """A second call does nothing."""
        if not self.merged:
            self.linear.weight.data += self.scaling * (self.up.weight @ self.down.weight)
            self.merged = True


class Single(Wrapper):
    """Right, but for a float32 constant inside."""

    def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
        super().__init__(layer, r, alpha)
        self.scaling = torch.tensor(alpha / r * (1 + 1e-7), dtype=torch.float32).item()


class Unscaled(Wrapper):
    """The adapter's part without alpha / r."""

    def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
        super().__init__(layer, r, alpha)
        self.scaling = 1.0


class MergesUnscaled(Wrapper):
    """Right until it is merged, and then without alpha / r."""

    def merge(self) -> None:
        """The scale is forgotten."""
        self.linear.weight.data += self.up.weight @ self.down.weight
        self.merged = True


class Matrices(Wrapper):
    """Right for matrices; anything else raises."""

    def forward(self, x: Tensor) -> Tensor:
        """Two dimensions only."""
        if x.dim() != 2:
            raise ValueError("want a matrix")
        return super().forward(x)


class OddGate(nn.Module):
    """(IA)^3 that stores g - 1, and forgets the bias if ``forgets``."""

    forgets = False

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.shift = nn.Parameter(torch.zeros(layer.out_features, dtype=layer.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """W x + b, times g."""
        y: Tensor = self.layer(x)
        bias = self.layer.bias
        if self.forgets and bias is not None:
            return (y - bias) * (1 + self.shift) + bias
        return y * (1 + self.shift)


class Forgetful(OddGate):
    """The gate misses the bias, as in LyCORIS."""

    forgets = True


def put(kind: type[nn.Module]):  # type: ignore[no-untyped-def]
    """How a class is put on a layer."""

    def on(layer: nn.Linear, settings: Settings) -> nn.Module:
        return kind(layer, settings.r, settings.alpha)

    return on
