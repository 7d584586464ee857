"""AntiPaSTO on CorDA's basis computed wrongly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proof.seeded.faults.padding import built_blind_to_masks
from proof.seeded.faults.residual_stack import stacked_on_the_residual
from proof.seeded.faults.svd_parts import AntiPaSTOCorDAInParts, Factors
from proof.seeded.rows import Rows
from refs.settings import Settings
from refs.subject import Subject


class AntiPaSTOCorDAOfTheCovarianceItself(AntiPaSTOCorDAInParts):
    """C in place of its root, as the CorDA paper's equations print it: another basis."""

    def raised(self, values: Tensor) -> Tensor:
        return super().raised(values).square()


class AntiPaSTOCorDACentred(AntiPaSTOCorDAInParts):
    """The mean is taken off: the covariance proper in place of E[x x^T]."""

    def covariance(self, statistic: Rows) -> Tensor:
        return torch.cov(statistic.pooled.T, correction=0)


class AntiPaSTOCorDASummed(AntiPaSTOCorDAInParts):
    """The sum of x x^T is not divided by the number of rows, so eps means another thing."""

    def covariance(self, statistic: Rows) -> Tensor:
        return statistic.pooled.T @ statistic.pooled


class AntiPaSTOCorDAOfTheLastBatch(AntiPaSTOCorDAInParts):
    """Every batch overwrites the covariance of those before."""

    def covariance(self, statistic: Rows) -> Tensor:
        rows = statistic.batches[-1]
        return rows.T @ rows / len(rows)


class AntiPaSTOCorDAEpsilonIgnored(AntiPaSTOCorDAInParts):
    """cov_eps is accepted and 1e-3 is added whatever it says."""

    def raised(self, values: Tensor) -> Tensor:
        return values + 1e-3


class AntiPaSTOCorDANotUnwound(AntiPaSTOCorDAInParts):
    """V stands in P's place: C^(-1/2) is forgotten. W_res makes up for it, so the start looks right."""

    def unwound(self, V: Tensor, inverse_root: Tensor) -> Tensor:
        return V


class AntiPaSTOCorDAUnorientedBasis(AntiPaSTOCorDAInParts):
    """Inputs are gathered and the weight's own singular vectors are used: an orientation that does nothing."""

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        U, S, Vh = torch.linalg.svd(W.double(), full_matrices=False)
        return U[:, : self.config.r], S[: self.config.r], Vh[: self.config.r]


class AntiPaSTOCorDAGainWithoutCoeff(AntiPaSTOCorDAInParts):
    """coeff is never read."""

    def gain(self, g: Tensor) -> Tensor:
        return self.curve(self.bounded(g))


class AntiPaSTOCorDALinearGain(AntiPaSTOCorDAInParts):
    """1 + g on both sides of zero: a direction can be flipped."""

    def curve(self, z: Tensor) -> Tensor:
        return 1 + z


class AntiPaSTOCorDACountsPadding(AntiPaSTOCorDAInParts):
    """Masked-out tokens enter the covariance. Found in real code."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        return built_blind_to_masks(cls, layer, settings)


class AntiPaSTOCorDACalibratesTheResidual(AntiPaSTOCorDAInParts):
    """Inputs are gathered when the layers below hold W_res and no adapter acts on them."""

    @classmethod
    def build_stack(cls, layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool) -> dict[str, Tensor]:
        return stacked_on_the_residual(cls, layers, settings, both)
