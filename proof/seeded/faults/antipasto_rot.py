"""AntiPaSTO's rotations computed wrongly."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from proof.seeded.faults.svd_parts import AntiPaSTORotInParts
from variants.runtime.spec import TensorSpec


class AntiPaSTORotTurnsBack(AntiPaSTORotInParts):
    """R and its inverse are exchanged, as between the torch code and its Flax original. Found in real code."""

    def rotation(self, p: Tensor) -> Tensor:
        return super().rotation(p).mT


class AntiPaSTORotTurnsTheRightBasisBack(AntiPaSTORotInParts):
    """R^T Vh in place of R Vh."""

    def right_turn(self, R: Tensor) -> Tensor:
        return R.mT


class AntiPaSTORotTurnsTheLeftBasisBack(AntiPaSTORotInParts):
    """U R in place of U R^T, in the manner of Vh."""

    def left_turn(self, R: Tensor) -> Tensor:
        return R


class AntiPaSTORotOneRotationForBoth(AntiPaSTORotInParts):
    """Both bases turn by the angles of V, as in the Flax original; those of U are idle."""

    def left_angles(self) -> Tensor:
        return self.angles_v if "angles_v" in self.config.rotated else self.angles_u


class AntiPaSTORotFirstOrder(AntiPaSTORotInParts):
    """R = I + 2 X, the first order of the Cayley transform: right for small angles, and it stretches large ones."""

    def rotation(self, p: Tensor) -> Tensor:
        return torch.eye(self.config.block_size, dtype=p.dtype) + 2 * self.skew(self.entries(p))


class AntiPaSTORotDoubleAngle(AntiPaSTORotInParts):
    """(I - A)^-1 (I + A), as in the authors' first code's text: the halves are forgotten."""

    def skew(self, entries: Tensor) -> Tensor:
        return 2 * super().skew(entries)


class AntiPaSTORotByTheExponential(AntiPaSTORotInParts):
    """exp(2 X) in place of the Cayley transform: another angle, and a rotation all the same."""

    def rotation(self, p: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(2 * self.skew(self.entries(p)))


class AntiPaSTORotAngleNotBounded(AntiPaSTORotInParts):
    """X_ij = p / 4: the tanh and its bound are gone."""

    def entries(self, p: Tensor) -> Tensor:
        return self.coeff * p / 4


class AntiPaSTORotBoundAlwaysHalf(AntiPaSTORotInParts):
    """max_rotation_angle is accepted and is 0.5."""

    def entries(self, p: Tensor) -> Tensor:
        t = math.tan(0.25)
        return self.coeff * t * torch.tanh(p / (4 * t))


class AntiPaSTORotColumnByColumn(AntiPaSTORotInParts):
    """The upper triangle is filled column by column: the same for blocks of 2, and not of 4."""

    def places(self) -> tuple[list[int], list[int]]:
        size = range(self.config.block_size)
        pairs = [(i, j) for j in size for i in size if i < j]
        return [i for i, _ in pairs], [j for _, j in pairs]


class AntiPaSTORotPairsAcrossBlocks(AntiPaSTORotInParts):
    """Directions n, n + r / size, ... make a block, in place of neighbours."""

    def turned(self, R: Tensor, h: Tensor) -> Tensor:
        blocks = h.unflatten(-1, (self.config.block_size, len(R))).mT
        return (R @ blocks.unsqueeze(-1)).squeeze(-1).mT.flatten(-2)


class AntiPaSTORotTurnsAtEveryCoeff(AntiPaSTORotInParts):
    """coeff scales the shift of the singular values and not the angles."""

    def entries(self, p: Tensor) -> Tensor:
        t = math.tan(self.config.max_rotation_angle / 2)
        return t * torch.tanh(p / (4 * t))


class AntiPaSTORotPoolsByRms(AntiPaSTORotInParts):
    """Inputs are pooled by their root mean square, the default of ``antipasto``; this method takes mean |z|."""

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * z.square().mean(dim=0).sqrt()


class AntiPaSTORotShiftNotSteered(AntiPaSTORotInParts):
    """coeff scales the angles and not the shift of the singular values."""

    def shifted(self, S: Tensor, delta: Tensor) -> Tensor:
        return S + delta


class AntiPaSTORotShiftIsAFactor(AntiPaSTORotInParts):
    """S (1 + coeff delta) in place of S + coeff delta."""

    def shifted(self, S: Tensor, delta: Tensor) -> Tensor:
        return S * (1 + self.coeff * delta)


class AntiPaSTORotInBf16(AntiPaSTORotInParts):
    """R is rounded to bfloat16 where the layer works in it: lengths are no longer kept."""

    def change_output(self, layer: Any, x: Tensor, y: Tensor) -> Tensor:
        self.__dict__["rough"] = y.dtype
        return super().change_output(layer, x, y)

    def rotation(self, p: Tensor) -> Tensor:
        return super().rotation(p).to(self.rough).to(p.dtype)


class _DeltaStarts(AntiPaSTORotInParts):
    """``antipasto_rot`` whose delta starts elsewhere."""

    mean, spread = 0.0, 0.0

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        delta = TensorSpec((config.r,), lambda shape, layer: cls.mean + cls.spread * torch.randn(shape))
        listed = super().specs(config, d_in, d_out)
        return {name: delta if name == "delta" else spec for name, spec in listed.items()}


class AntiPaSTORotDeltaAtZero(_DeltaStarts):
    """delta starts at exactly zero. Found in real code."""


class AntiPaSTORotDeltaAboutZero(_DeltaStarts):
    """delta starts at N(0, 4e-4): the mean of 4e-4 is forgotten."""

    spread = 4e-4


class AntiPaSTORotDeltaWithoutSpread(_DeltaStarts):
    """delta starts at 4e-4 for every direction."""

    mean = 4e-4


class AntiPaSTORotOriginalsTurnBack(AntiPaSTORotInParts):
    """In the originals' conventions the angles turn as in lora-lite: antipasto3's chirality, reversed."""

    def sense(self) -> int:
        return 1


class AntiPaSTORotOriginalUncut(AntiPaSTORotInParts):
    """In antipasto3's convention delta is drawn from the whole normal distribution, not cut at two sigma."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        uncut = TensorSpec((config.r,), lambda shape, layer: 4e-4 + 4e-4 * torch.randn(shape))
        listed = super().specs(config, d_in, d_out)
        return {name: uncut if name == "delta" else spec for name, spec in listed.items()}
