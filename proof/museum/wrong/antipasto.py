"""The SVD-steering family computed wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from conformance.roster import attached, stacked
from refs.settings import Settings
from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.runtime.spec import TensorSpec
from variants.svd_family import Factors, gain, oriented, svd


class AntiPaSTOGainWithoutCoeff(AntiPaSTO):
    """coeff is stored, changed and never read: 0 does not give the base model back."""

    def core(self, h: Tensor) -> Tensor:
        return h * self.S.to(h.dtype) * gain(self.g.to(h.dtype), 1.0, self.config.suppress_only)


class AntiPaSTOCoeffOnTheGain(AntiPaSTO):
    """1 + coeff ELU(g) in place of 1 + ELU(coeff g): the same at coeff 0 and 1, and no longer positive elsewhere."""

    def core(self, h: Tensor) -> Tensor:
        once = gain(self.g.to(h.dtype), 1.0, self.config.suppress_only)
        return h * self.S.to(h.dtype) * (1 + self.coeff * (once - 1))


class AntiPaSTOExponentialGain(AntiPaSTO):
    """exp(g) in place of 1 + ELU(g): the same below zero, and exponential above."""

    def core(self, h: Tensor) -> Tensor:
        g = self.g.to(h.dtype)
        return h * self.S.to(h.dtype) * torch.exp(self.coeff * (g.clamp(max=0) if self.config.suppress_only else g))


class AntiPaSTOIgnoresCalibration(AntiPaSTO):
    """Calibration inputs are gathered, and the largest singular values are taken all the same. Found in real code."""

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        return tuple(t[..., : self.config.r] if n == 0 else t[: self.config.r] for n, t in enumerate(svd(W.float())))


class AntiPaSTOResidualOfUnroundedFactors(AntiPaSTO):
    """W_res is formed before U, S and Vh are rounded to their dtype. Found in real code, of PiSSA."""

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        self.__dict__["exact"] = super().factors(W, statistic)
        return self.exact

    def residual(self, W: Tensor) -> Tensor:
        U, S, Vh = self.exact
        return (W.to(U.dtype) - (U * S) @ Vh).to(W.dtype)


class AntiPaSTOCalibratesTheResidual(AntiPaSTO):
    """Inputs are gathered when the layers below hold W_res and no adapter acts on them. Found in real code."""

    @classmethod
    def build_stack(cls, layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool) -> dict[str, Tensor]:
        if both:
            attached(cls, layers[0], settings)
            layers[0].adapter.unhook()
            del layers[0].adapter
        return stacked(cls, layers, settings, both=False)


class AntiPaSTORotTurnsBack(AntiPaSTORot):
    """R and its inverse are exchanged, as between the torch code and its Flax original. Found in real code."""

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        return super().rotation(angles, dtype).mT


class AntiPaSTORotFirstOrder(AntiPaSTORot):
    """R = I + 2 X, the first order of the Cayley transform: right for small angles, and it stretches large ones."""

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        R = super().rotation(angles, dtype)
        identity = torch.eye(self.config.block_size, dtype=dtype)
        return identity + 2 * torch.linalg.solve(R + identity, R - identity)


class AntiPaSTORotTurnsAtEveryCoeff(AntiPaSTORot):
    """coeff scales the shift of the singular values and not the angles."""

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        coeff, self.coeff = self.coeff, 1.0
        R = super().rotation(angles, dtype)
        self.coeff = coeff
        return R


class AntiPaSTORotDeltaAtZero(AntiPaSTORot):
    """delta starts at exactly zero. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "delta": TensorSpec((config.r,))}


class AntiPaSTOAblateAlphaNotClamped(AntiPaSTOAblate):
    """alpha is used as it is: outside [0, 1] the ablation flips or amplifies."""

    def core(self, h: Tensor) -> Tensor:
        h = h * self.S.to(h.dtype)
        Q = self.directions(h.dtype)
        return h - self.coeff * ((h @ Q) * self.alpha.to(h.dtype)) @ Q.T


class AntiPaSTOAblateColumnsNotOrthogonal(AntiPaSTOAblate):
    """Every column of c is divided by its own length; with k > 1 the columns are not orthogonal."""

    def directions(self, dtype: torch.dtype) -> Tensor:
        c = self.c.to(dtype)
        return c / (torch.linalg.vector_norm(c, dim=0) + 1e-6)


class AntiPaSTOAblateLengthForgotten(AntiPaSTOAblate):
    """c is used as it is, so its length decides how much is removed."""

    def directions(self, dtype: torch.dtype) -> Tensor:
        return self.c.to(dtype)


class AntiPaSTOArrowTransposedBlock(AntiPaSTOArrow):
    """M[i, j] takes direction i to direction j: M^T in place of M, the same at t=0 and for symmetric M."""

    def core(self, h: Tensor) -> Tensor:
        b = self.config.block
        top = h[..., :b] * self.S[:b].to(h.dtype)
        M = self.coeff * self.M.to(h.dtype)
        return super().core(h) + torch.cat((top @ (M - M.T), torch.zeros_like(h[..., b:])), dim=-1)


class AntiPaSTOCorDAOfTheCovarianceItself(AntiPaSTOCorDA):
    """C in place of its root, as the CorDA paper's equations print it: another basis."""

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        self.require_rows(statistic)
        values, E = torch.linalg.eigh(statistic.second)
        squared = (E * (values + self.config.cov_eps).square()) @ E.T
        return oriented(W, squared, 0.0, self.config.r)
