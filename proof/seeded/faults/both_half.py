"""Variants that lose digits where layer and tensors are both in half precision, or where an input is cast or strided.

In the default (float32 tensors on a half-precision layer) each is right.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.hra import HRA
from variants.lora import LoRA
from variants.pissa import PiSSA
from variants.runtime.calibrate import Moments
from variants.runtime.numerics.products import plus_product, thin_product
from variants.svd_family import SVDAdapter, gain

HALF = (torch.bfloat16, torch.float16)


class _WideOfBoth(SVDAdapter):
    """Nothing is computed in float32 but where one of both is."""

    def _wide(self, like: Tensor) -> torch.dtype:
        return torch.promote_types(like.dtype, self.U.dtype)


class AntiPaSTOAllInHalf(_WideOfBoth, AntiPaSTO):
    """Residual, product with Vh, gain and core are computed in bfloat16 where layer and factors are in it."""


class AntiPaSTOCorDAAllInHalf(_WideOfBoth, AntiPaSTOCorDA):
    """Residual, product with P, gain and core are computed in bfloat16 where layer and factors are in it."""


class AntiPaSTORotAllInHalf(_WideOfBoth, AntiPaSTORot):
    """Residual, products, rotation and core are computed in bfloat16 where layer and factors are in it."""

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        return super().rotation(angles, torch.float32 if dtype in HALF else dtype).to(dtype)


class _ResidualOfBoth(SVDAdapter):
    """W_res from a product in the stored dtype."""

    def residual(self, W: Tensor) -> Tensor:
        U, S, Vh = self.U, self.S, getattr(self, self.right)
        if not (W.dtype in HALF and U.dtype in HALF):
            return super().residual(W)
        return (W - ((U * S) @ Vh).to(W.dtype)).to(W.dtype)


class AntiPaSTOResidualInHalf(_ResidualOfBoth, AntiPaSTO):
    """W_res is W less a product in half precision, where layer and factors are in it."""


class AntiPaSTOArrowResidualInHalf(_ResidualOfBoth, AntiPaSTOArrow):
    """W_res is W less a product in half precision, where layer and factors are in it."""


class AntiPaSTOAblateResidualInHalf(_ResidualOfBoth, AntiPaSTOAblate):
    """W_res is W less a product in half precision, where layer and factors are in it."""


class PiSSAResidualInHalf(PiSSA):
    """W_res is W less a product in the tensors' dtype where that and the layer's are half precision."""

    def residual(self, W: Tensor) -> Tensor:
        A0, B0 = self.start
        if not (W.dtype in HALF and A0.dtype in HALF):
            return super().residual(W)
        return (W - self.config.scale * (B0 @ A0).to(W.dtype)).to(W.dtype)


class AntiPaSTOGainInHalf(AntiPaSTO):
    """1 + ELU(coeff g) is computed in the dtype of g: a small g is lost beside 1 in bfloat16."""

    def core(self, h: Tensor) -> Tensor:
        return h * (self.S.to(h.dtype) * gain(self.g, self.coeff, self.config.suppress_only).to(h.dtype))


class AntiPaSTOCorDACoreInHalf(AntiPaSTOCorDA):
    """S * (1 + ELU(coeff g)) is computed in the dtype of the tensors."""

    def core(self, h: Tensor) -> Tensor:
        return h * (self.S * gain(self.g, self.coeff, self.config.suppress_only)).to(h.dtype)


class AntiPaSTOArrowMixesInHalf(AntiPaSTOArrow):
    """The block I + coeff M is added up in the dtype of M."""

    def core(self, h: Tensor) -> Tensor:
        h, b = h * self.S.to(h.dtype), self.config.block
        K = (torch.eye(b, dtype=self.M.dtype) + self.coeff * self.M).to(h.dtype)
        rest = h[..., b:] * gain(self.g.to(h.dtype), self.coeff, self.config.suppress_only)
        return torch.cat((h[..., :b] @ K.T, rest), dim=-1)


class AntiPaSTOAblateDirectionsInHalf(AntiPaSTOAblate):
    """The directions that are removed are normalised and rounded in the dtype of c."""

    def directions(self, dtype: torch.dtype) -> Tensor:
        c = self.c
        if self.config.k == 1:
            return (c / (torch.linalg.vector_norm(c) + 1e-6)).to(dtype)
        return super().directions(dtype).to(c.dtype).to(dtype)


class HRAGramInHalf(HRA):
    """The products u_i u_j of the triangular system are rounded to the dtype of U."""

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        U, K = super().factors(dtype)
        return U, K.to(self.U.dtype).to(K.dtype)


class EVAMomentsInHalf(EVA):
    """The inputs are centred about the first batch's mean in their own dtype, which is the layer's."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Any:
        gathered, about = super().statistic(config, layer), []
        add = gathered.add

        def rounded(rows: Tensor) -> None:
            if len(rows):
                about.append(rows.mean(dim=0))
                add(rows - about[0] if rows.dtype in HALF else rows)

        gathered.add = rounded  # type: ignore[method-assign]
        return gathered


class AntiPaSTOCorDAMomentsInHalf(AntiPaSTOCorDA):
    """E[x x^T] is a product in the inputs' own dtype, which is the layer's."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Any:
        return _RoundedMoments(layer.in_features)  # type: ignore[arg-type]


class _RoundedMoments(Moments):
    def add(self, rows: Tensor) -> None:
        if rows.dtype not in HALF:
            super().add(rows)
            return
        gram = (rows.detach().T @ rows.detach()).double()
        values, E = torch.linalg.eigh(gram)
        for sign in (1, -1):  # rows that have these products, and no mean
            super().add(sign * (values.clamp(min=0) / 2).sqrt()[:, None] * E.T)
        self.n += len(rows) - 2 * len(gram)


class LoRADropsBeforeTheCast(LoRA):
    """x is dropped and scaled by 1 / (1 - p) in its own dtype, and cast to the tensors' afterwards."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training).to(dtype) if self.training else x


class DoRADropsBeforeTheCast(DoRA):
    """x is dropped and scaled by 1 / (1 - p) in its own dtype, and cast to the tensors' afterwards."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training).to(dtype) if self.training else x


class LoRADropsTheUpdateInput(LoRA):
    """With dropout the dropped x stays in the layer's dtype: A is cast down to it."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not (self.training and self.config.dropout):
            return super().change_output(layer, x, y)
        h = F.linear(F.dropout(x, self.config.dropout), self.A.to(x.dtype))
        return plus_product(y, h.to(self.B.dtype), self.B.t(), self.config.scale).to(y.dtype)


class LoRAReadsManyRowsByStorage(LoRA):
    """Of more than 32 rows that have to be cast, the memory is read as if they lay one behind the other."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, _as_if_dense(x, self.A.dtype), y)


class AntiPaSTOReadsManyRowsByStorage(AntiPaSTO):
    """Of more than 32 rows that have to be cast, the memory is read as if they lay one behind the other."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, _as_if_dense(x, torch.float32), y)


def _as_if_dense(x: Tensor, wide: torch.dtype) -> Tensor:
    if x.dtype == wide or x.dtype not in HALF or x.numel() <= 32 * x.shape[-1]:
        return x
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


class LoRAForgetsTheLastStridedRows(LoRA):
    """Of more than 32 strided rows in half precision, the last ones that fill no part of 32 are left out."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if x.is_contiguous() or x.dtype not in HALF or len(rows) <= 32 or (self.training and self.config.dropout):
            return super().change_output(layer, x, y)
        h = thin_product(x, self.A).reshape(len(rows), -1)
        h = torch.cat((h[: len(rows) // 32 * 32], 0 * h[len(rows) // 32 * 32 :])).view(*x.shape[:-1], -1)
        return plus_product(y, h, self.B.t(), self.config.scale).to(y.dtype)


class DeLoRATakesStridedGradientsByStorage(DeLoRA):
    """In half precision the gradient of many rows is read from memory as if it lay one row behind the other."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        y = super().change_output(layer, x, y)
        many = y.dtype in HALF and y.numel() > 32 * y.shape[-1]
        return _ByStorage.apply(y) if many else y  # type: ignore[no-any-return]


class _ByStorage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if grad.is_contiguous() or 0 in grad.stride():
            return grad
        steps = [1]
        for size in reversed(grad.shape[1:]):
            steps.insert(0, steps[0] * size)
        return grad.as_strided(grad.shape, steps)
