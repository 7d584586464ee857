"""PiSSA computed wrongly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.pissa import PiSSA
from variants.runtime.spec import TensorSpec


class PiSSAInParts(PiSSA):
    """PiSSA in parts that a bug can replace. Correct as it stands."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        W = layer.weight.detach()
        A, B = self.shares(*self.decomposed(W.to(torch.promote_types(W.dtype, torch.float32))))
        return {"A": A, "B": B, "A0": A, "B0": B}

    def decomposed(self, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.config.niter is None:
            return torch.linalg.svd(W, full_matrices=False)
        U, S, V = torch.svd_lowrank(W, q=self.config.r, niter=self.config.niter)
        return U, S, V.T

    def shares(self, U: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
        root = self.values(S[: self.config.r]).sqrt()
        return root[:, None] * Vh[: self.config.r], U[:, : self.config.r] * root

    def values(self, S: Tensor) -> Tensor:
        return S / self.config.scale

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)

    def residual(self, W: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(W.dtype, self.A.dtype), torch.float32)
        A0, B0 = (self.file_tensors[name].to(wide) for name in ("A0", "B0"))
        return (W.to(wide) - self.config.scale * B0 @ A0).to(W.dtype)


class PiSSAWithoutDivisionByS(PiSSAInParts):
    """A and B take sqrt(S), not sqrt(S / s): the identity holds, and steps are another size. Found in real code."""

    def values(self, S: Tensor) -> Tensor:
        return S


class PiSSADividesByAlpha(PiSSAInParts):
    """A and B take sqrt(S / alpha): the identity holds, and the rank is left out."""

    def values(self, S: Tensor) -> Tensor:
        return S / self.config.alpha


class PiSSAScaleOutsideTheDecomposition(PiSSAInParts):
    """A B = S_r is taken out of the weight and s B A is added back: the identity for alpha = r only."""

    def values(self, S: Tensor) -> Tensor:
        return S

    def residual(self, W: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(W.dtype, self.A.dtype), torch.float32)
        A0, B0 = (self.file_tensors[name].to(wide) for name in ("A0", "B0"))
        return (W.to(wide) - B0 @ A0).to(W.dtype)


class PiSSAForgetsTheScale(PiSSAInParts):
    """s stands in the start and in W_res; the forward adds B A without it."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


class PiSSAValuesOnOneSide(PiSSAInParts):
    """B takes all of S / s and A none: the same product, and steps of another size."""

    def shares(self, U: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
        return Vh[: self.config.r], U[:, : self.config.r] * self.values(S[: self.config.r])


class PiSSAOfTheSmallestValues(PiSSAInParts):
    """The last r singular directions in place of the first: the order of the spectrum is taken for ascending."""

    def shares(self, U: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
        return super().shares(U.flip(1), S.flip(0), Vh.flip(0))


class PiSSAResidualOfUnroundedFactors(PiSSAInParts):
    """W_res is W less the product before A and B are rounded to their dtype. Found in real code."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        self.__dict__["exact"] = super().initial(layer, statistic)
        return self.exact

    def residual(self, W: Tensor) -> Tensor:
        A0, B0 = self.exact["A0"], self.exact["B0"]
        return (W.to(A0.dtype) - self.config.scale * B0 @ A0).to(W.dtype)


class PiSSAKeepsTheWholeWeight(PiSSAInParts):
    """The principal part is never taken out of the weight, so it counts twice."""

    def residual(self, W: Tensor) -> Tensor:
        return W.clone()


class PiSSAStartsAsLoRA(PiSSAInParts):
    """Nothing is decomposed: A at random and B zero, the start of LoRA under another name."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), "kaiming")}

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        return {}


class PiSSAIgnoresNiter(PiSSAInParts):
    """niter is accepted, and the decomposition is exact and slow all the same."""

    def decomposed(self, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.linalg.svd(W, full_matrices=False)


class PiSSAFreezesA(PiSSAInParts):
    """A keeps the principal directions and B alone trains."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), trainable=False)}
