"""AntiPaSTO's gains computed wrongly, and directions chosen wrongly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.faults.residual_stack import stacked_on_the_residual
from proof.seeded.faults.svd_parts import AntiPaSTOInParts, Factors
from proof.seeded.rows import Rows
from refs.settings import Settings
from variants.runtime.spec import TensorSpec


class AntiPaSTOGainWithoutCoeff(AntiPaSTOInParts):
    """coeff is stored, changed and never read: 0 does not give the base model back."""

    def gain(self, g: Tensor) -> Tensor:
        return self.curve(self.bounded(g))


class AntiPaSTOCoeffOnTheGain(AntiPaSTOInParts):
    """1 + coeff ELU(g) in place of 1 + ELU(coeff g): the same at coeff 0 and 1, and no longer positive elsewhere."""

    def gain(self, g: Tensor) -> Tensor:
        return 1 + self.coeff * F.elu(self.bounded(g))


class AntiPaSTOExponentialGain(AntiPaSTOInParts):
    """exp(g) in place of 1 + ELU(g): the same below zero, and exponential above."""

    def curve(self, z: Tensor) -> Tensor:
        return z.exp()


class AntiPaSTOLinearGain(AntiPaSTOInParts):
    """1 + g on both sides of zero: a direction can be flipped."""

    def curve(self, z: Tensor) -> Tensor:
        return 1 + z


class AntiPaSTOGainTurnedOver(AntiPaSTOInParts):
    """ELU's sides are exchanged: linear below zero, bounded above."""

    def curve(self, z: Tensor) -> Tensor:
        return 1 - F.elu(-z)


class AntiPaSTOGainAdded(AntiPaSTOInParts):
    """S + ELU(coeff g): added to the singular values in place of multiplied."""

    def middle(self, h: Tensor) -> Tensor:
        return h * (self.S.to(h.dtype) + F.elu(self.coeff * self.bounded(self.g.to(h.dtype))))


class AntiPaSTOIgnoresSuppressOnly(AntiPaSTOInParts):
    """suppress_only is accepted and does nothing."""

    def bounded(self, g: Tensor) -> Tensor:
        return g


class AntiPaSTOSuppressIsDeadAtZero(AntiPaSTOInParts):
    """min(g, 0) as -relu(-g): g starts at exactly 0, where its gradient is 0, and never moves."""

    def bounded(self, g: Tensor) -> Tensor:
        return -F.relu(-g) if self.config.suppress_only else g


class AntiPaSTODeadGain(AntiPaSTOInParts):
    """g is detached in the forward: exact output, and no gradient."""

    def bounded(self, g: Tensor) -> Tensor:
        return super().bounded(g).detach()


class AntiPaSTOTrainsTheSpectrum(AntiPaSTOInParts):
    """S is a parameter and trains along with its gain."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "S": TensorSpec((config.r,))}


class AntiPaSTOKeepsTheWholeWeight(AntiPaSTOInParts):
    """The r directions are never taken out of the weight, so they count twice."""

    def residual(self, W: Tensor) -> Tensor:
        return W.clone()


class AntiPaSTOResidualOfUnroundedFactors(AntiPaSTOInParts):
    """W_res is formed before U, S and Vh are rounded to their dtype. Found in real code, of PiSSA."""

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        self.__dict__["exact"] = super().factors(W, statistic)
        return self.exact

    def residual(self, W: Tensor) -> Tensor:
        U, S, Vh = self.exact
        return (W.to(U.dtype) - (U * S) @ Vh).to(W.dtype)


class AntiPaSTOIgnoresCalibration(AntiPaSTOInParts):
    """Calibration inputs are gathered, and the largest singular values are taken all the same. Found in real code."""

    def chosen(self, S: Tensor, Vh: Tensor, statistic: Rows) -> list[int]:
        return list(range(self.config.r))


class AntiPaSTOChoosesAmongTheTop(AntiPaSTOInParts):
    """Scores are compared among the r + 1 largest singular values only, not over the full spectrum."""

    def chosen(self, S: Tensor, Vh: Tensor, statistic: Rows) -> list[int]:
        return super().chosen(S[: self.config.r + 1], Vh[: self.config.r + 1], statistic)


class AntiPaSTOChoosesTheLeast(AntiPaSTOInParts):
    """The smallest scores are kept: the order of the sort is taken for descending."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return -super().scores(S, z)


class AntiPaSTOOrderOfTheScores(AntiPaSTOInParts):
    """The chosen directions stand in the order of their scores, not of the spectrum."""

    def chosen(self, S: Tensor, Vh: Tensor, statistic: Rows) -> list[int]:
        scores = self.scores(S, statistic.pooled @ Vh.T)
        return scores.argsort(descending=True)[: self.config.r].tolist()


class AntiPaSTOScoresWithoutS(AntiPaSTOInParts):
    """Directions are scored by the inputs alone: S_i is left out."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return super().scores(torch.ones_like(S), z)


class AntiPaSTOAlwaysRms(AntiPaSTOInParts):
    """act_pool is accepted, and inputs are pooled by their root mean square."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * z.square().mean(dim=0).sqrt()


class AntiPaSTOAlwaysMeanAbs(AntiPaSTOInParts):
    """act_pool is accepted, and inputs are pooled by their mean absolute value."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * z.abs().mean(dim=0)


class AntiPaSTOScoresCentred(AntiPaSTOInParts):
    """The mean of the inputs is taken off before they are pooled, as EVA does and this method does not."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return super().scores(S, z - z.mean(dim=0))


class AntiPaSTOSuppressesTheProduct(AntiPaSTOInParts):
    """min(coeff g, 0) in place of coeff min(g, 0): a negative coeff no longer amplifies."""

    def gain(self, g: Tensor) -> Tensor:
        return self.curve(self.bounded(self.coeff * g))


class AntiPaSTOIgnoresThePool(AntiPaSTOInParts):
    """act_pool is accepted and the pool is the maximum whatever it says."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * z.abs().amax(dim=0)


class AntiPaSTOCalibratesTheResidual(AntiPaSTOInParts):
    """Inputs are gathered when the layers below hold W_res and no adapter acts on them. Found in real code."""

    @classmethod
    def build_stack(cls, layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool) -> dict[str, Tensor]:
        return stacked_on_the_residual(cls, layers, settings, both)
