"""HRA computed wrongly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from variants.hra import HRA, HRAConfig
from variants.runtime.adapter import Adapter
from variants.runtime.spec import TensorSpec


class HRAInParts(HRA):
    """HRA reflection by reflection, in parts that a bug can replace. Correct as it stands."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return self.reflect(x) if self.config.side == "input" and x.dtype == self.wide(x) else x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = self.wide(x)
        if self.config.side == "output":
            z = nn.functional.linear(x.to(wide), layer.weight.to(wide))
            return (y + self.turned(z, self.U.to(wide)) - z).to(y.dtype)
        if x.dtype == wide:
            return y
        h = x.to(wide)
        return (y + nn.functional.linear(self.reflect(h) - h, layer.weight.to(wide))).to(y.dtype)

    def turned(self, z: Tensor, U: Tensor) -> Tensor:
        """z H_0 ... H_{r-1} for the rows of an output without its bias."""
        if self.config.gram_schmidt:
            Q = torch.linalg.qr(U.T).Q
            return z - 2 * (z @ Q) @ Q.T
        for u in self.in_order(U):
            z = z - (z @ u).unsqueeze(-1) * (2 * u / (u @ u + self.room()))
        return z

    def in_order(self, U: Tensor) -> tuple[Tensor, ...]:
        return U.unbind()

    def room(self) -> float:
        return self.config.eps

    def wide(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)

    def rows(self, U: Tensor) -> tuple[Tensor, ...]:
        return U.flip(0).unbind()

    def mirror(self, h: Tensor, u: Tensor) -> Tensor:
        return h - (h @ u).unsqueeze(-1) * (2 * u / (u @ u))

    def reflect(self, h: Tensor) -> Tensor:
        if self.config.gram_schmidt:
            Q = torch.linalg.qr(self.U.to(h.dtype).T).Q
            return h - 2 * (h @ Q) @ Q.T
        for u in self.rows(self.U.to(h.dtype)):
            h = self.mirror(h, u)
        return h


class HRAReversedOrder(HRAInParts):
    """x H_0 ... H_{r-1} on row inputs: exact at t=0, 90 % off after training. Found in real code."""

    def rows(self, U: Tensor) -> tuple[Tensor, ...]:
        return U.unbind()


class HRASkipsTheLast(HRAInParts):
    """range(r - 1): the last reflection is never applied."""

    def rows(self, U: Tensor) -> tuple[Tensor, ...]:
        return U[:-1].flip(0).unbind()


class HRAProjectsOnce(HRAInParts):
    """I - u u^T / |u|^2: the factor 2 is missing, so the directions are removed in place of mirrored."""

    def mirror(self, h: Tensor, u: Tensor) -> Tensor:
        return h - (h @ u).unsqueeze(-1) * (u / (u @ u))


class HRAEpsilonInTheLength(HRAInParts):
    """v / sqrt(|v|^2 + eps), as in the authors' llama layers: the reflection is no longer exact."""

    def mirror(self, h: Tensor, u: Tensor) -> Tensor:
        return h - (h @ u).unsqueeze(-1) * (2 * u / (u @ u + 1e-6))


class HRALengthDetached(HRAInParts):
    """|u|^2 is a constant for the gradient, as if it were DoRA's norm; the forward is exact."""

    def mirror(self, h: Tensor, u: Tensor) -> Tensor:
        return h - (h @ u).unsqueeze(-1) * (2 * u / (u @ u).detach())


class HRACutsTheInputGradient(HRAInParts):
    """x is detached before it is reflected: U trains, layers below do not."""

    def reflect(self, h: Tensor) -> Tensor:
        return super().reflect(h.detach())


class HRAIgnoresGramSchmidt(HRAInParts):
    """gram_schmidt is accepted and the plain product is computed. Real code had options that silently do nothing."""

    def reflect(self, h: Tensor) -> Tensor:
        for u in self.rows(self.U.to(h.dtype)):
            h = self.mirror(h, u)
        return h


class HRAGatedByZero(HRAInParts):
    """A scalar gate that starts at zero blends the reflections in: U is dead. Found in real code."""

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "gate": TensorSpec(())}

    def reflect(self, h: Tensor) -> Tensor:
        return h + self.gate.to(h.dtype) * (super().reflect(h) - h)


class HRAOnTheOutput(HRAInParts):
    """H_{r-1} ... H_0 W: the output is reflected, U: (r, d_out), as in the authors' llama layers."""

    change_input = Adapter.change_input

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return super().specs(config, d_out, d_in)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        bias = 0 if layer.bias is None else layer.bias
        return self.reflect(y - bias) + bias


class HRAReflectsInTheLayersDtype(HRAInParts):
    """The reflections run in bfloat16 where the layer does, and r roundings add up."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return self.reflect(x)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y


def _uniform(rows: int, d_in: int, bound: float) -> Tensor:
    return (2 * torch.rand(rows, d_in) - 1) * bound


class _Started(HRA):
    """HRA whose default U starts elsewhere."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        raise NotImplementedError

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return (
            super().specs(config, d_in, d_out)
            if config.gram_schmidt or config.side == "output"
            else {"U": TensorSpec((config.r, d_in), cls.start)}
        )


class HRAFanFromTheInput(_Started):
    """Half of U is filled as (r/2, d_in), its bound is 1/sqrt(d_in): other gradients. Found in real code."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        r, d_in = shape
        return _uniform(r // 2, d_in, 1 / math.sqrt(d_in)).repeat_interleave(2, dim=0)


class HRAUnpairedStart(_Started):
    """Every row is drawn for itself: the start is a random rotation, not the identity."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        r, d_in = shape
        return _uniform(r, d_in, 1 / math.sqrt(r // 2))


class HRAHalvesInSequence(_Started):
    """u_0 u_1 u_0 u_1 in place of u_0 u_0 u_1 u_1: the pairs are not neighbours and do not cancel."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        r, d_in = shape
        return _uniform(r // 2, d_in, 1 / math.sqrt(r // 2)).repeat(2, 1)


class HRAMirroredStart(_Started):
    """u_0 u_1 u_1 u_0: it cancels from the middle, so it is the identity too, and the first step is another one."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        r, d_in = shape
        half = _uniform(r // 2, d_in, 1 / math.sqrt(r // 2))
        return torch.cat([half, half.flip(0)])


class HRAUnitLengths(_Started):
    """Every row is divided by its length at the start: the same forward, gradients of another size."""

    @staticmethod
    def start(shape: torch.Size, layer: nn.Module) -> Tensor:
        r, d_in = shape
        return nn.functional.normalize(_uniform(r // 2, d_in, 1.0)).repeat_interleave(2, dim=0)


class HRAOutputInReverseOrder(HRAInParts):
    """The output side takes the order of the input side: H_0 ... H_{r-1} W."""

    def in_order(self, U: Tensor) -> tuple[Tensor, ...]:
        return U.flip(0).unbind()


class HRAOutputWithoutEpsilon(HRAInParts):
    """Whole reflections on the output side, however short their vectors: the start is nowhere near the identity."""

    def room(self) -> float:
        return 0.0


class HRAPenaltySquared(HRAInParts):
    """What is added to the loss is the square of the norm."""

    def orthogonality_penalty(self) -> Tensor:
        return super().orthogonality_penalty().square()
