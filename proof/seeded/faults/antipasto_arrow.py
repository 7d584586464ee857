"""AntiPaSTO's dense block computed wrongly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from proof.seeded.faults.svd_parts import AntiPaSTOArrowInParts
from variants.runtime.spec import TensorSpec


class AntiPaSTOArrowTransposedBlock(AntiPaSTOArrowInParts):
    """M[i, j] takes direction i to direction j: M^T in place of M, the same at t=0 and for symmetric M."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return super().mixed(top, M.T)


class AntiPaSTOArrowBlockWithoutIdentity(AntiPaSTOArrowInParts):
    """The block is coeff M in place of I + coeff M: at t=0 the top directions are silent."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return self.coeff * top @ M.T


class AntiPaSTOArrowBlockNotSteered(AntiPaSTOArrowInParts):
    """coeff scales the gains and not the block."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return top + top @ M.T


class AntiPaSTOArrowBoundedBlock(AntiPaSTOArrowInParts):
    """The block's entries go through the gain's ELU: I + ELU(coeff M)."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return top + top @ F.elu(self.coeff * M).T


class AntiPaSTOArrowIgnoresSuppressOnly(AntiPaSTOArrowInParts):
    """suppress_only is accepted and does nothing."""

    def bounded(self, g: Tensor) -> Tensor:
        return g


class AntiPaSTOArrowSuppressesTheBlock(AntiPaSTOArrowInParts):
    """suppress_only bounds the entries of M as well."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return super().mixed(top, self.bounded(M))


class AntiPaSTOArrowDiagonalBlock(AntiPaSTOArrowInParts):
    """Only the diagonal of M is used, so nothing is mixed."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return super().mixed(top, M.diagonal().diag())


class AntiPaSTOArrowBlockBeforeTheSpectrum(AntiPaSTOArrowInParts):
    """diag(S) K in place of K diag(S): M[i, j] is weighed by S_i."""

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        S = self.S[: self.config.block].to(top.dtype)
        return super().mixed(top / S, M) * S


class AntiPaSTOArrowBlockOnTheLast(AntiPaSTOArrowInParts):
    """The block sits on the last chosen directions and the gains on the first."""

    def middle(self, h: Tensor) -> Tensor:
        rest = self.config.r - self.config.block
        h = h * self.S.to(h.dtype)
        top = h[..., :rest] * self.gain(self.g.to(h.dtype))
        return torch.cat((top, self.mixed(h[..., rest:], self.M.to(h.dtype))), dim=-1)


class AntiPaSTOArrowGainOnTheBlockToo(AntiPaSTOArrowInParts):
    """g: (r,) as in ``antipasto``, and the block's directions have a gain as well."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "g": TensorSpec((config.r,))}

    def middle(self, h: Tensor) -> Tensor:
        b = self.config.block
        h = h * self.S.to(h.dtype) * self.gain(self.g.to(h.dtype))
        return torch.cat((self.mixed(h[..., :b], self.M.to(h.dtype)), h[..., b:]), dim=-1)
