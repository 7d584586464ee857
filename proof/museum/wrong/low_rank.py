"""The other low-rank methods and ROAD computed wrongly: PiSSA, DeLoRA, EVA, ROAD."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.roster import ON_THE_LAYER, attached
from refs.calibration import batches
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from variants import attach
from variants.delora import DeLoRA
from variants.eva import EVA, Inputs
from variants.pissa import PiSSA
from variants.road import ROAD
from variants.runtime.adapter import row_norm
from variants.runtime.spec import TensorSpec


class PiSSAWithoutDivisionByS(PiSSA):
    """A and B take sqrt(S), not sqrt(S / s): the identity holds, and steps are another size. Found in real code."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        return {name: t * self.config.scale**0.5 for name, t in super().initial(layer, statistic).items()}


class PiSSAResidualOfUnroundedFactors(PiSSA):
    """W_res is W less the product before A and B are rounded to their dtype. Found in real code."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        self.__dict__["exact"] = super().initial(layer, statistic)
        return self.exact

    def residual(self, W: Tensor) -> Tensor:
        A0, B0 = self.exact["A0"], self.exact["B0"]
        return (W.to(A0.dtype) - self.config.scale * B0 @ A0).to(W.dtype)


class PiSSAKeepsTheWholeWeight(PiSSA):
    """The principal part is never taken out of the weight, so it counts twice."""

    def residual(self, W: Tensor) -> Tensor:
        return W.clone()


class PiSSAOfTheSmallestValues(PiSSA):
    """The last r singular directions in place of the first: the order of the spectrum is taken for ascending."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        U, S, Vh = torch.linalg.svd(layer.weight.detach().float(), full_matrices=False)
        root = (S[-self.config.r :] / self.config.scale).sqrt()
        A, B = root[:, None] * Vh[-self.config.r :], U[:, -self.config.r :] * root
        return {"A": A, "B": B, "A0": A, "B0": B}


class DeLoRAScalarNorm(DeLoRA):
    """One norm of the whole weight in place of one per column. Found in real code."""

    def normalised(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return super().normalised(x / self.w * self.w.norm(), A, B)


class DeLoRAZeroStrength(DeLoRA):
    """B and lam both start at zero: every gradient is zero, for ever. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "lam": TensorSpec((1,))}


class DeLoRARandomB(DeLoRA):
    """B starts at random though no frozen copy takes the start away. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "B": TensorSpec((d_out, config.r), "kaiming")}


class DeLoRANormAsParameter(DeLoRA):
    """The norm of the weight is registered as a parameter and trains along. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {**specs, "w": TensorSpec((d_in,), specs["w"].initial)}


class DeLoRANormNotClamped(DeLoRA):
    """|b_i| is not bounded from below: B = 0 gives 0 / 0 at the start."""

    def normalised(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        xi = self.lam / self.config.r / (row_norm(A) * row_norm(B.T))
        return F.linear(F.linear(x, xi[:, None] * A * self.w), B)


class EVAFreezesA(EVA):
    """A keeps the directions it was given. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), trainable=False)}


class _AboutZero(Inputs):
    """Inputs whose covariance is E[x x^T]."""

    @property
    def covariance(self) -> Tensor:
        about = torch.zeros_like(self._sum) if self._about is None else self._about
        shift = self._sum / self.n
        return self._gram / self.n + torch.outer(about, shift) + torch.outer(shift, about) + torch.outer(about, about)


class EVANotCentred(EVA):
    """The mean is not taken off, so with real activations the first direction is the mean. Found in real code."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Inputs:
        return _AboutZero(layer.in_features)


class _FirstBatch(Inputs):
    """Inputs that take in one batch and no more."""

    def add(self, rows: Tensor) -> None:
        if not self.n:
            super().add(rows)


class EVAOfTheFirstBatch(EVA):
    """The directions of the first batch stand for those of all."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Inputs:
        return _FirstBatch(layer.in_features)


class EVACountsPadding(EVA):
    """Masked-out tokens enter the statistics. Found in real code."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        if settings.option("calibration", "") != "masked":
            return attached(cls, layer, settings)
        host = Host(layer)
        dtype = settings.dtype or "float32"
        config = cls.Config(targets=ON_THE_LAYER, r=settings.r, alpha=settings.alpha, dtype=dtype, rho=1.0)
        data = [{"x": batch.x} for batch in batches("masked", layer.in_features, layer.weight.dtype)]
        attach(host, config, calibration=data, variant=cls)
        return Subject(host, layer, {name: (f"layer.adapter.{name}", AS_IS) for name in ("A", "B")})


class ROADTurnsBack(ROAD):
    """J turns (y1, y2) into (y2, -y1): every angle is its negative."""

    def columns(self) -> tuple[Tensor, Tensor]:
        c1, c2 = super().columns()
        return c1, -c2


class ROADLeavesTheBias(ROAD):
    """W x is turned and the bias is added afterwards."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        bias = 0 if layer.bias is None else layer.bias
        return super().change_output(layer, x, y - bias) + bias


class ROADPairsNeighbours(ROAD):
    """Outputs 2i and 2i + 1 make a pair, as in some rotary embeddings, in place of the halves of a group."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        groups, half = self.d_out // self.config.group_size, self.config.group_size // 2
        halves = y.reshape(*y.shape[:-1], groups, half, 2).mT.reshape(y.shape)
        turned = super().change_output(layer, x, halves)
        return turned.reshape(*y.shape[:-1], groups, 2, half).mT.reshape(y.shape)
