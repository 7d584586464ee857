"""What once got past the harness: each of these was called CORRECT before a check was mended."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.faults.lora import LoRAInParts
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA, HRAConfig
from variants.lora import LoRA, LoRAConfig
from variants.runtime.adapter import row_norm
from variants.runtime.config import AdapterConfig
from variants.runtime.spec import TensorSpec


class DoRANanGradientAtAZeroRow(DoRA):
    """m / |V| is cut out where |V| = 0 after the division: the output is right, and the gradient of m is NaN."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        W: Tensor = layer.weight.to(self.A.dtype)  # type: ignore[operator, assignment]
        s = self.config.scale
        norm = row_norm(W + s * (self.B @ self.A)).detach()
        factor = torch.where(norm > 0, self.m / norm, 1)
        b: Tensor | None = layer.bias  # type: ignore[assignment]
        Wx = y if b is None else y - b
        update = s * F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)
        return (y + (factor - 1) * Wx + factor * update).to(y.dtype)


class LoRAOtherScaleWithoutGradients(LoRA):
    """s = alpha where gradients are off: what is deployed is not what was trained."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        s = self.config.scale if torch.is_grad_enabled() else self.config.alpha
        return (y + s * F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)).to(y.dtype)


class _AtLeastOne(LoRAConfig):
    @property
    def scale(self) -> float:
        return max(1.0, super().scale)


class _RankUpToEight(LoRAConfig):
    @property
    def scale(self) -> float:
        return self.alpha / min(self.r, 8)


class LoRAScaleAtLeastOne(LoRA):
    """s is never below 1."""

    Config = _AtLeastOne


class LoRARankCountsUpToEight(LoRA):
    """s = alpha / min(r, 8)."""

    Config = _RankUpToEight


class LoRAMirroredRows(LoRA):
    """A starts as a half and its negative: every number is distributed as it should be, and the rank is halved."""

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        def mirrored(shape: torch.Size, layer: nn.Module) -> Tensor:
            A = TensorSpec(tuple(shape), "kaiming").make(layer, torch.float32, torch.device("cpu"))
            half = A[: len(A) // 2]
            return torch.cat([half, -half, A[2 * len(half) :]])

        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), mirrored)}


class LoRAClampsTheOutput(LoRA):
    """The output is cut at +-100."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y).clamp(-100, 100)


class LoRAFlipsHalfPrecisionSequences(LoRAInParts):
    """In half precision the update of a batch of sequences has the wrong sign."""

    def branch(self, dropped: Tensor) -> Tensor:
        return super().branch(dropped)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return 2 * y - out if y.itemsize == 2 and y.dim() == 3 else out


class LoRATrainsLouderInHalfPrecision(LoRA):
    """In half precision the update is 1.5 times as large in training mode."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return y + 1.5 * (out - y) if y.itemsize == 2 and self.training else out


class _AnyRank(HRAConfig):
    def __post_init__(self) -> None:
        AdapterConfig.__post_init__(self)


class HRARoundsAnOddRankUp(HRA):
    """r = 3 silently becomes 4: declared is that an odd rank is refused."""

    Config = _AnyRank

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        spec = super().specs(config, d_in, d_out)["U"]
        return {"U": TensorSpec((config.r + config.r % 2, d_in), spec.initial)}


class HRAGramSchmidtHugeStart(HRA):
    """With Gram-Schmidt U starts a thousand times too large: the forward is the same, the gradient is not."""

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        if not config.gram_schmidt:
            return super().specs(config, d_in, d_out)
        return {"U": TensorSpec((config.r, d_in), lambda shape, layer: 1e3 * torch.randn(shape))}


class EVARotatesWithinTheSpan(EVA):
    """A spans the right subspace by directions that are not the principal ones."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        values = super().initial(layer, statistic)
        A = values["A"]
        turn = torch.linalg.qr(torch.arange(1.0, len(A) ** 2 + 1).reshape(len(A), -1).sin().to(A.dtype)).Q
        return {**values, "A": turn @ A}
