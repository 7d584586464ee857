"""Adapters that are right in every single call, and go wrong over the steps of a training run."""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.fault import Seeded
from variants.dora import DoRA
from variants.ia3 import IA3
from variants.lora import LoRA
from variants.runtime.adapter import row_norm
from variants.runtime.state import weight_of


class LoRAMakesItsTensorsLate(LoRA):
    """The first training call puts new parameters in place: an optimiser made before owns the old ones."""

    made: bool = False

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.training and not self.made and not torch.compiler.is_compiling():
            self.A, self.B = nn.Parameter(self.A.detach().clone()), nn.Parameter(self.B.detach().clone())
            self.made = True
        return super().change_output(layer, x, y)


class _DoRAByItsNorm(DoRA):
    """DoRA with |V|_row from ``length``, dropout left out."""

    def length(self, V: Tensor) -> Tensor:
        raise NotImplementedError

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        plain = torch.compiler.is_compiling() or not (self.training and torch.is_grad_enabled())
        if plain or self.config.dropout:
            return super().change_output(layer, x, y)
        W, s, wide = weight_of(layer), self.config.scale, x.to(self.A.dtype)
        V = W.detach().to(self.A.dtype) + s * self.B.detach() @ self.A.detach()
        Vx = F.linear(wide, W.to(self.A.dtype)) + s * F.linear(F.linear(wide, self.A), self.B)
        b = 0 if layer.bias is None else layer.bias
        return (b + self.m / self.length(V) * Vx).to(y.dtype)


class DoRANormOfTheFirstStep(_DoRAByItsNorm):
    """In training |V| is that of the first call: a cache that nobody empties."""

    first: Tensor | None = None

    def length(self, V: Tensor) -> Tensor:
        if self.first is None:
            self.first = row_norm(V)
        return self.first


class DoRARunningNorm(_DoRAByItsNorm):
    """In training |V| is a running mean, which starts with the first call's."""

    running: Tensor | None = None

    def length(self, V: Tensor) -> Tensor:
        norm = row_norm(V)
        self.running = norm if self.running is None else torch.lerp(norm, self.running, 0.9)
        return self.running


class LoRALastBatchOnly(LoRA):
    """The gradient of A takes the place of what has been added up, as a backward that writes ``.grad`` itself does."""

    def hook(self, layer: nn.Module) -> None:
        super().hook(layer)
        A = self.A
        A.register_hook(lambda grad: grad if A.grad is None else grad - A.grad)


class LoRAFrozenByAnEvaluation(LoRA):
    """A call in inference mode freezes the tensors as if they were merged, and train() wakes B alone."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not (self.training or torch.compiler.is_compiling()) and torch.is_inference_mode_enabled():
            self.requires_grad_(False)
        return super().change_output(layer, x, y)

    def train(self, mode: bool = True) -> Self:
        if mode and hasattr(self, "B"):
            self.B.requires_grad_(True)
        return super().train(mode)


class LoRAEvensItsGradients(LoRA):
    """Each gradient of B is given the length of the first one: clipping that nobody asked for."""

    first: Tensor | None = None

    def hook(self, layer: nn.Module) -> None:
        super().hook(layer)
        self.B.register_hook(self._even)

    def _even(self, grad: Tensor) -> Tensor:
        length = grad.norm()
        if self.first is None:
            self.first = length
        return grad * (self.first / length) if length > 0 else grad


class LoRAFoldsWhenEvaluated(LoRA):
    """eval() after training moves half of B A into the base and halves B: the same function from another place."""

    trained: bool = False
    layer_of: Any = None

    def hook(self, layer: nn.Module) -> None:
        super().hook(layer)
        self.__dict__["layer_of"] = layer

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.trained = self.trained or (self.training and torch.is_grad_enabled())
        return super().change_output(layer, x, y)

    def train(self, mode: bool = True) -> Self:
        if not mode and self.trained:
            self.trained = False
            with torch.no_grad():
                self.B.mul_(0.5)
                weight_of(self.layer_of).add_(self.config.scale * self.B @ self.A)
        return super().train(mode)


class IA3RoundsItsGateBack(IA3):
    """In half precision the gate is stored back as the layer's dtype holds it, whenever it has moved."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.training and x.dtype != self.g.dtype:
            with torch.no_grad():
                self.g.copy_(self.g.to(x.dtype))
        return super().change_output(layer, x, y)


KILLER = "trajectory"

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(LoRAMakesItsTensorsLate, "lora", KILLER),
    Seeded(DoRANormOfTheFirstStep, "dora", KILLER),
    Seeded(DoRARunningNorm, "dora", KILLER),
    Seeded(LoRALastBatchOnly, "lora", KILLER),
    Seeded(LoRAFrozenByAnEvaluation, "lora", KILLER),
    Seeded(LoRAEvensItsGradients, "lora", KILLER),
    Seeded(LoRAFoldsWhenEvaluated, "lora", KILLER),
    Seeded(IA3RoundsItsGateBack, "ia3", KILLER),
)
"""Wrong over several steps."""
