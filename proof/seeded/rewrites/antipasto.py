"""AntiPaSTO's gains, correctly, in other words: on the plain basis and on the oriented one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from proof.seeded.rewrites.svd_wrapper import OneWeight, SVDWrapper, by_cases
from proof.seeded.rows import Rows
from refs.settings import Settings
from refs.subject import AS_IS
from variants.antipasto import AntiPaSTO
from variants.antipasto_corda import AntiPaSTOCorDA


class _Gained(OneWeight):
    def matrix(self, wide: torch.dtype) -> Tensor:
        return torch.diag(self.S.to(wide) * by_cases(self.g.to(wide), self.coeff, self.config.suppress_only))


class AntiPaSTOAsOneWeight(_Gained, AntiPaSTO):
    """U diag(S E) Vh is formed as a matrix, with the gain's two sides by cases."""


class AntiPaSTOOfOtherSigns(AntiPaSTO):
    """Every other pair of singular vectors has its signs turned."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        values = super().initial(layer, statistic)
        sign = (-1.0) ** torch.arange(self.config.r)
        return {**values, "U": values["U"] * sign, "Vh": values["Vh"] * sign[:, None]}


class AntiPaSTOByEigenvalues(AntiPaSTO):
    """The spectrum from the eigenvalues of W W^T or of W^T W in float64, scores from all rows at once."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    def initial(self, layer: nn.Module, statistic: Rows | None) -> dict[str, Tensor]:
        W = layer.weight.detach().double()
        flat = len(W) <= W.shape[1]
        values, vectors = torch.linalg.eigh(W @ W.T if flat else W.T @ W)
        S, vectors = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
        U, Vh = (vectors, (vectors.T @ W) / S[:, None]) if flat else (W @ vectors / S, vectors.T)
        scores = S
        if self.config.act_pool != "rms":
            self.require_rows(statistic)
        if statistic is not None:
            z = (statistic.pooled @ Vh.T).abs() * S
            scores = z.square().mean(0).sqrt() if self.config.act_pool == "rms" else z.mean(0)
        kept = torch.topk(scores, self.config.r).indices.sort().values
        return {"U": U[:, kept], "S": S[kept], "Vh": Vh[kept]}


class AntiPaSTOFromNumPy(SVDWrapper):
    """A plain module, its factors transposed and decomposed in NumPy."""

    names: ClassVar = {**SVDWrapper.names, "g": ("gain", AS_IS)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        return {**super().start(W, settings), "gain": torch.zeros(settings.r)}

    def core(self, wide: torch.dtype) -> Tensor:
        gain = by_cases(self.gain.to(wide), self.option("coeff", 1.0), self.option("suppress_only", False))
        return torch.diag(gain) * self.values.to(wide)


class AntiPaSTOCorDAAsOneWeight(_Gained, AntiPaSTOCorDA):
    """U diag(S E) P is formed as a matrix, with the gain's two sides by cases."""


class _OfRows(AntiPaSTOCorDA):
    """The factors from C alone, whatever its root is."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    def initial(self, layer: nn.Module, statistic: Rows) -> dict[str, Tensor]:
        rows = statistic.pooled
        C = rows.T @ rows / len(rows) + self.config.cov_eps * torch.eye(self.d_in).double()
        return dict(zip(("U", "S", "P"), self.of(layer.weight.detach().double(), C)))

    def of(self, W: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError


class AntiPaSTOCorDAWithoutRoots(_OfRows):
    """W C W^T = U S^2 U^T, and P = S^-1 U^T W: neither C^(1/2) nor its inverse is ever formed."""

    def of(self, W: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, U = torch.linalg.eigh(W @ C @ W.T)
        S, U = values[-self.config.r :].flip(0).sqrt(), U[:, -self.config.r :].flip(1)
        return U, S, (U.T @ W) / S[:, None]


class AntiPaSTOCorDAByCholesky(_OfRows):
    """C = L L^T: W L has the U and S of W C^(1/2), and V L^-1 is the P of its V C^(-1/2)."""

    def of(self, W: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        L = torch.linalg.cholesky(C)
        U, S, V = torch.linalg.svd(W @ L, full_matrices=False)
        r = self.config.r
        return U[:, :r], S[:r], torch.linalg.solve_triangular(L, V[:r], upper=False, left=False)
