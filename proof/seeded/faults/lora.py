"""LoRA computed wrongly: the scale, the dropout, the gradient and the base underneath."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.lora import LoRA, LoRAConfig


class _AlphaAsScale(LoRAConfig):
    @property
    def scale(self) -> float:
        return self.alpha


class _RankAsDivisorAlways(LoRAConfig):
    @property
    def scale(self) -> float:
        return self.alpha / self.r


class _SquareRootAlways(LoRAConfig):
    @property
    def scale(self) -> float:
        return self.alpha / math.sqrt(self.r)


class _IntegerScale(LoRAConfig):
    @property
    def scale(self) -> float:
        return self.alpha // self.r


class LoRAInParts(LoRA):
    """LoRA whose branch, from the dropped x on, a bug can replace. Correct as it stands."""

    def branch(self, dropped: Tensor) -> Tensor:
        return F.linear(F.linear(dropped, self.A), self.B)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + self.config.scale * self.branch(dropped)).to(y.dtype)


class LoRAAlphaNotDividedByRank(LoRA):
    """s = alpha: the division by r is forgotten. Found in real code."""

    Config = _AlphaAsScale


class LoRAIgnoresRsLoRA(LoRA):
    """rslora is accepted, and s stays alpha / r. Found in real code."""

    Config = _RankAsDivisorAlways


class LoRAAlwaysRsLoRA(LoRA):
    """s = alpha / sqrt(r) though rslora is off. The reverse of a fault of real code."""

    Config = _SquareRootAlways


class LoRAIntegerScale(LoRA):
    """alpha // r: right for every alpha that r divides, which is all that examples use."""

    Config = _IntegerScale


class LoRAScalesTwice(LoRA):
    """s is applied to the update twice. The merge of real code had it."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y + self.config.scale * (super().change_output(layer, x, y) - y)


class LoRABiasInsideTheScale(LoRA):
    """The bias is taken into the scaled branch: W x + s (B A x + b)."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return out if layer.bias is None else out + (self.config.scale - 1) * layer.bias


class LoRABiasTwice(LoRA):
    """The update is a linear layer with the base's bias, so the bias is added a second time."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return out if layer.bias is None else out + layer.bias


class LoRANeedsABias(LoRA):
    """The layer's bias is used without asking whether there is one."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return layer.bias + super().change_output(layer, x, y - layer.bias)


class LoRADropoutIgnored(LoRA):
    """dropout is accepted and does nothing. Found in real code."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        update = F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)
        return (y + self.config.scale * update).to(y.dtype)


class LoRADropoutInEvalToo(LoRA):
    """Functional dropout without the training flag: it also drops at inference."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


class LoRADropoutOnTheUpdate(LoRA):
    """Dropout acts on the finished update, not on the x that A sees."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        update = F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)
        return (y + self.config.scale * F.dropout(update, self.config.dropout, self.training)).to(y.dtype)


class LoRADropoutKeepsWithP(LoRA):
    """The probability to drop is taken for the one to keep. At 0.5, where tests like to look, both are the same."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        p = self.config.dropout and 1 - self.config.dropout
        dropped = F.dropout(x.to(self.A.dtype), p, self.training)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


class LoRADropoutNotRescaled(LoRA):
    """What is kept is not divided by 1 - p, so training sees a smaller update than inference."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        kept = 1 - self.config.dropout if self.training else 1.0
        return super().change_output(layer, kept * x, y)


class LoRADropoutOneMaskForAll(LoRAInParts):
    """One mask is drawn for all tokens of a batch: every token alone looks right."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        mask = F.dropout(x.new_ones(self.d_in), self.config.dropout, self.training).to(self.A.dtype)
        return (y + self.config.scale * self.branch(x.to(self.A.dtype) * mask)).to(y.dtype)


class LoRADropoutOfAnotherP(LoRA):
    """p is a tenth lower than asked for, by random numbers of its own: the mean is right, the spread is not."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        p = 0.9 * self.config.dropout if self.training else 0.0
        mask = (torch.rand(x.shape) >= p).to(self.A.dtype) / (1 - p)
        return (y + self.config.scale * F.linear(F.linear(x.to(self.A.dtype) * mask, self.A), self.B)).to(y.dtype)


class LoRAOffInTraining(LoRA):
    """A switched guard: without dropout the branch is skipped in training mode."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y if self.training and self.config.dropout == 0 else super().change_output(layer, x, y)


class LoRAOffInEval(LoRA):
    """The adapter works while it trains and is left out at inference, as if it had been merged."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y) if self.training else y


class LoRACutsTheBaseGradient(LoRA):
    """The base runs under no_grad, so layers below get no gradient. Found in real code."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.detach())


class LoRACutsTheBranchGradient(LoRA):
    """The branch sees x.detach(): its tensors train, but x gets the base's gradient only."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x.detach(), y)


class LoRADeadB(LoRAInParts):
    """B is detached in the forward: at t=0 nothing at all gets a gradient."""

    def branch(self, dropped: Tensor) -> Tensor:
        return F.linear(F.linear(dropped, self.A), self.B.detach())


class LoRADeadA(LoRAInParts):
    """A is detached in the forward. At t=0 its gradient is zero anyway, so that start shows nothing."""

    def branch(self, dropped: Tensor) -> Tensor:
        return F.linear(F.linear(dropped, self.A.detach()), self.B)


class LoRAGradientScaledAgain(LoRA):
    """The forward is exact; the gradient of the branch is multiplied by s a second time."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        update = super().change_output(layer, x, y) - y
        s = self.config.scale
        return y + s * update + (1 - s) * update.detach()


class LoRAKeepsTheFirstUpdate(LoRAInParts):
    """B A is computed once and kept: what training does to A and B never reaches the output."""

    first: Tensor | None = None

    def branch(self, dropped: Tensor) -> Tensor:
        if self.first is None:
            self.__dict__["first"] = (self.B @ self.A).detach()
        return F.linear(dropped, self.first)


class LoRAMergesAtEveryCall(LoRA):
    """The update is added to the base weight in place: the first call is right, every other adds it again."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        layer.weight.data += (self.config.scale * self.B @ self.A).to(layer.weight.dtype)
        return out
