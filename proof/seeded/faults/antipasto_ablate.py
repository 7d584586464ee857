"""AntiPaSTO's ablation computed wrongly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from proof.seeded.faults.svd_parts import AntiPaSTOAblateInParts, Factors
from proof.seeded.rows import Rows
from variants.runtime.spec import TensorSpec


class AntiPaSTOAblateAlphaNotClamped(AntiPaSTOAblateInParts):
    """alpha is used as it is: outside [0, 1] the ablation flips or amplifies."""

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha


class AntiPaSTOAblateAlphaThroughSigmoid(AntiPaSTOAblateInParts):
    """sigmoid(alpha) in place of the clamp: bounded as well, and another number."""

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha.sigmoid()


class AntiPaSTOAblateGradientPastTheClamp(AntiPaSTOAblateInParts):
    """The clamp lets gradients through outside [0, 1]: the forward is exact."""

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha + (alpha.clamp(0, 1) - alpha).detach()


class AntiPaSTOAblateEpsilonIgnored(AntiPaSTOAblateInParts):
    """cov_eps is accepted and 1e-3 is added whatever it says."""

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        asked, self.config = self.config, replace(self.config, cov_eps=1e-3)
        factors = super().factors(W, statistic)
        self.config = asked
        return factors


class AntiPaSTOAblateAlwaysTheSameStart(AntiPaSTOAblateInParts):
    """init_alpha is accepted and alpha starts at 0.05."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return super().specs(replace(config, init_alpha=0.05), d_in, d_out)


class AntiPaSTOAblateColumnsNotOrthogonal(AntiPaSTOAblateInParts):
    """Every column of c is divided by its own length; with k > 1 the columns are not orthogonal."""

    def columns(self, c: Tensor) -> Tensor:
        return c / (c.norm(dim=0) + 1e-6)


class AntiPaSTOAblateLengthForgotten(AntiPaSTOAblateInParts):
    """c is used as it is, so its length decides how much is removed."""

    def columns(self, c: Tensor) -> Tensor:
        return c


class AntiPaSTOAblateWithoutEpsilon(AntiPaSTOAblateInParts):
    """c / |c| without the 1e-6, for k = 1 too."""

    def columns(self, c: Tensor) -> Tensor:
        return torch.linalg.qr(c).Q


class AntiPaSTOAblateRemovesTwice(AntiPaSTOAblateInParts):
    """I - 2 alpha Q Q^T: a reflection at alpha = 1."""

    def removed(self, h: Tensor, Q: Tensor, alpha: Tensor) -> Tensor:
        return 2 * super().removed(h, Q, alpha)


class AntiPaSTOAblateFirstDirectionOnly(AntiPaSTOAblateInParts):
    """k is accepted and one direction is removed."""

    def removed(self, h: Tensor, Q: Tensor, alpha: Tensor) -> Tensor:
        return super().removed(h, Q[:, :1], alpha[:1])


class AntiPaSTOAblateOneShareForAll(AntiPaSTOAblateInParts):
    """The mean of alpha stands for each."""

    def removed(self, h: Tensor, Q: Tensor, alpha: Tensor) -> Tensor:
        return super().removed(h, Q, alpha.mean().expand_as(alpha))


class AntiPaSTOAblateOnTheInput(AntiPaSTOAblateInParts):
    """diag(S) (I - Q diag(alpha) Q^T): the directions are taken from the input's coordinates, before S."""

    def middle(self, h: Tensor) -> Tensor:
        S = self.S.to(h.dtype)
        return super().middle(h / S) * S


class AntiPaSTOAblateAlwaysAtWork(AntiPaSTOAblateInParts):
    """coeff is never read."""

    def middle(self, h: Tensor) -> Tensor:
        coeff, self.coeff = self.coeff, 1.0
        out = super().middle(h)
        self.coeff = coeff
        return out


class AntiPaSTOAblateIgnoresOrientation(AntiPaSTOAblateInParts):
    """cov_orient is accepted, inputs are gathered, and the basis is the weight's own."""

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        return super().factors(W, None)


class AntiPaSTOAblateStartsAtZero(AntiPaSTOAblateInParts):
    """alpha starts at 0: the identity, and c has no gradient."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "alpha": TensorSpec((config.k,))}


class AntiPaSTOAblateLongDirections(AntiPaSTOAblateInParts):
    """c starts three times too long: the same function, gradients of another size."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        c = TensorSpec((config.r, config.k), lambda shape, layer: 3 * torch.randn(shape) / shape[0] ** 0.5)
        return {**super().specs(config, d_in, d_out), "c": c}
