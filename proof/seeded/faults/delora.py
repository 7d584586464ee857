"""DeLoRA computed wrongly."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.delora import DeLoRA, DeLoRAConfig
from variants.runtime.spec import TensorSpec

SMALLEST = 1e-4


class DeLoRAInParts(DeLoRA):
    """DeLoRA step by step, in parts that a bug can replace. Correct as it stands."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + self.difference(x)).to(y.dtype)

    def difference(self, x: Tensor) -> Tensor:
        update = self.update(x, self.A, self.B)
        return update - self.update(x, self.C, self.D) if self.config.frozen_copies else update

    def update(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return F.linear(F.linear(x * self.norms(), A) * (self.strength() / self.lengths(A, B)), B)

    def norms(self) -> Tensor:
        return self.w

    def strength(self) -> Tensor:
        return self.lam / self.config.r

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        a, b = (torch.linalg.vector_norm(t, dim=1) for t in (A, B.T))
        return a * b if self.config.frozen_copies else a.clamp(min=SMALLEST) * b.clamp(min=SMALLEST)


class DeLoRAScalarNorm(DeLoRAInParts):
    """One norm of the whole weight in place of one per column. Found in real code."""

    def norms(self) -> Tensor:
        return self.w.norm().expand(self.d_in)


class DeLoRANormOfTheRows(DeLoRAInParts):
    """|W| is taken over the rows and scales the output, w: (d_out,)."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        rows = TensorSpec((d_out,), lambda shape, layer: layer.weight.detach().float().norm(dim=1), buffer=True)
        return {**super().specs(config, d_in, d_out), "w": rows}

    def update(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return self.w * F.linear(F.linear(x, A) * (self.strength() / self.lengths(A, B)), B)


class DeLoRANormOfTheRowsUnderItsName(DeLoRAInParts):
    """w holds the norms of the rows, as far as there are any: the right shape and the wrong numbers."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        def rows(shape: torch.Size, layer: nn.Module) -> Tensor:
            norms = layer.weight.detach().float().norm(dim=1)
            return norms.repeat(math.ceil(shape[0] / len(norms)))[: shape[0]]

        return {**super().specs(config, d_in, d_out), "w": TensorSpec((d_in,), rows, buffer=True)}


class DeLoRAStrengthNotDividedByRank(DeLoRAInParts):
    """xi = lam / (|a| |b|): the division by r is forgotten."""

    def strength(self) -> Tensor:
        return self.lam


class DeLoRAClampsTheProduct(DeLoRAInParts):
    """max(|a| |b|, c^2) in place of the product of both maxima: at B = 0 the first step has another size."""

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        a, b = (torch.linalg.vector_norm(t, dim=1) for t in (A, B.T))
        return a * b if self.config.frozen_copies else (a * b).clamp(min=SMALLEST**2)


class DeLoRAEpsilonAdded(DeLoRAInParts):
    """|a| + c in place of max(|a|, c): nearly the same at t=0, one in ten thousand off wherever training goes."""

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        a, b = (torch.linalg.vector_norm(t, dim=1) for t in (A, B.T))
        return a * b if self.config.frozen_copies else (a + SMALLEST) * (b + SMALLEST)


class DeLoRANormNotClamped(DeLoRAInParts):
    """|b_i| is not bounded from below: B = 0 gives 0 / 0 at the start."""

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        return torch.linalg.vector_norm(A, dim=1) * torch.linalg.vector_norm(B, dim=0)


class DeLoRANormsDetached(DeLoRAInParts):
    """|a| and |b| are constants for the gradient, as |V| is in DoRA: the forward is exact."""

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        return super().lengths(A, B).detach()


class DeLoRANormalisesAOnly(DeLoRAInParts):
    """The columns of B keep their lengths."""

    def lengths(self, A: Tensor, B: Tensor) -> Tensor:
        return torch.linalg.vector_norm(A, dim=1).clamp(min=SMALLEST)


class DeLoRADeadStrength(DeLoRAInParts):
    """lam is read as a number: exact output, and the strength never learns."""

    def strength(self) -> Tensor:
        return self.lam.detach() / self.config.r


class DeLoRADropoutOnTheUpdate(DeLoRAInParts):
    """Dropout acts on the finished update, not on its x."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        update = self.difference(x.to(self.A.dtype))
        return (y + F.dropout(update, self.config.dropout, self.training)).to(y.dtype)


class DeLoRADropoutIgnored(DeLoRAInParts):
    """dropout is accepted and does nothing. Found in real code."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y + self.difference(x.to(self.A.dtype))).to(y.dtype)


class DeLoRACutsTheBaseGradient(DeLoRAInParts):
    """The base runs under no_grad, so layers below get no gradient."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.detach())


class DeLoRAZeroStrength(DeLoRAInParts):
    """B and lam both start at zero: every gradient is zero, for ever. Found in real code."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "lam": TensorSpec((1,))}


class DeLoRAStrengthAlwaysFifteen(DeLoRAInParts):
    """lam starts at 15 whatever was asked for."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        fixed = TensorSpec((1,), lambda shape, layer: torch.full(shape, 15.0))
        return {**super().specs(config, d_in, d_out), "lam": fixed}


class DeLoRARandomB(DeLoRAInParts):
    """B starts at random though no frozen copy takes the start away. Found in real code."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "B": TensorSpec((d_out, config.r), "kaiming")}


class DeLoRANormAsParameter(DeLoRAInParts):
    """The norm of the weight is registered as a parameter and trains along. Found in real code."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {**specs, "w": TensorSpec((d_in,), specs["w"].initial)}


class DeLoRACopiesTrain(DeLoRAInParts):
    """C and D are parameters and train along: what is subtracted is no longer the start."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {name: TensorSpec(s.shape, s.initial) if name in ("C", "D") else s for name, s in specs.items()}


class DeLoRACopiesShareStorage(DeLoRAInParts):
    """C and D are A and B under other names: the update stays zero however long it trains. Found in real code."""

    def __init__(self, config: DeLoRAConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        if config.frozen_copies:
            self._buffers.update(C=self.A.data, D=self.B.data)


class DeLoRACopiesNotSubtracted(DeLoRAInParts):
    """frozen_copies starts B at random and keeps the copies, and nothing subtracts them."""

    def difference(self, x: Tensor) -> Tensor:
        return self.update(x, self.A, self.B)


class DeLoRACopiesDrawnAnew(DeLoRAInParts):
    """C and D are drawn like A and B and not copied from them: the start is not the identity."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        if not self.config.frozen_copies:
            return {}
        drawn = {"A": (self.config.r, self.d_in), "B": (self.d_out, self.config.r)}
        shapes = {**drawn, "C": drawn["A"], "D": drawn["B"]}
        return {name: (2 * torch.rand(shape) - 1) / math.sqrt(shape[1]) for name, shape in shapes.items()}


class DeLoRADividesByTheNorm(DeLoRAInParts):
    """x is divided by w where it should be multiplied."""

    def norms(self) -> Tensor:
        return 1 / self.w


class DeLoRAOneDrawForBoth(DeLoRAInParts):
    """With frozen copies B starts from the numbers that A was drawn from: each alone looks as it should."""

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        listed = super().specs(config, d_in, d_out)
        if not config.frozen_copies:
            return listed
        seed = int(torch.randint(2**31, ()))
        drawn = {
            name: TensorSpec(listed[name].shape, lambda shape, layer: _kaiming_of(seed, shape), trainable)
            for name, trainable in (("A", True), ("B", True))
        }
        return {**listed, **drawn}


def _kaiming_of(seed: int, shape: torch.Size) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[1])
