"""Gates, rotations, reflections and steering that are wrong only between the points that single checks ask about."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from proof.seeded.faults.between_points import in_inference
from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.hra import HRA
from variants.ia3 import IA3
from variants.ia3_ff import IA3FF
from variants.road import ROAD
from variants.runtime.numerics.products import plus_product
from variants.svd_family import gain


class IA3GateCutAtTwo(IA3):
    """The gate is cut at 2 in both directions."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g.clamp(-2, 2)).to(y.dtype)


class IA3ReseedsTheGenerator(IA3):
    """A seed is set when it is attached, though nothing is drawn."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return super().initial(layer, statistic)


class IA3FFGateIsPositive(IA3FF):
    """A negative gate counts as zero."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x * self.g.clamp(min=0)).to(x.dtype)


class IA3FFMissesKeywords(IA3FF):
    """An input that is passed by its keyword is not gated."""

    def _before(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return super()._before(layer, args, kwargs) if args else (args, kwargs)


class ROADAngleWithinTwo(ROAD):
    """An angle is cut at 2 radians."""

    def columns(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        theta, self._parameters["theta"] = self.theta, self.theta.clamp(-2, 2)  # type: ignore[assignment]
        try:
            return super().columns()
        finally:
            self._parameters["theta"] = theta  # type: ignore[assignment]


class ROADPairsNeighboursByDefault(ROAD):
    """Groups of 64, the default, are paired as groups of 2 are."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.config.group_size != 64 or self.config.kind != "road_1":
            return super().change_output(layer, x, y)
        theta, alpha = self.theta.repeat_interleave(2), self.alpha.repeat_interleave(2)
        first, second = y[..., ::2], y[..., 1::2]
        turned = torch.stack((-second, first), dim=-1).reshape(y.shape)
        return (y * (alpha * theta.cos()) + turned * (alpha * theta.sin())).to(y.dtype)


class ROADForgetsAlphaInInference(ROAD):
    """In inference mode the kept columns are those of the angles alone."""

    def columns(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if not in_inference():
            return super().columns()
        alpha, self._parameters["alpha"] = self.alpha, torch.ones_like(self.alpha)  # type: ignore[assignment]
        try:
            return super().columns()
        finally:
            self._parameters["alpha"] = alpha


class HRAKeepsItsReflections(HRA):
    """In inference mode the reflections are made once and never again."""

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if not in_inference():
            return super().factors(dtype)
        kept = self.__dict__.setdefault("reflections", {})
        if dtype not in kept:
            kept[dtype] = super().factors(dtype)
        return kept[dtype]


class HRAForgetsTheLastOfMany(HRA):
    """Of more than 16 reflections the last ones are left out."""

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        U, self._parameters["U"] = self.U, self.U[:16]  # type: ignore[assignment]
        try:
            return super().factors(dtype)
        finally:
            self._parameters["U"] = U  # type: ignore[assignment]


class AntiPaSTOIgnoresSteer(AntiPaSTO):
    """The coefficient is that of the config: steer() changes nothing."""

    def core(self, h: Tensor) -> Tensor:
        return h * (self.S.to(h.dtype) * gain(self.g.to(h.dtype), self.config.coeff, self.config.suppress_only))


class AntiPaSTOGainCutAtThree(AntiPaSTO):
    """A gain is cut at 3."""

    def core(self, h: Tensor) -> Tensor:
        gains = gain(self.g.to(h.dtype), self.coeff, self.config.suppress_only).clamp(max=3)
        return h * (self.S.to(h.dtype) * gains)


class AntiPaSTOSuppressesBackwardsOnly(AntiPaSTO):
    """suppress_only acts at a negative coefficient only."""

    def core(self, h: Tensor) -> Tensor:
        cut = self.config.suppress_only and self.coeff < 0
        return h * (self.S.to(h.dtype) * gain(self.g.to(h.dtype), self.coeff, cut))


class AntiPaSTOCorDASteersUpToOne(AntiPaSTOCorDA):
    """A coefficient beyond 1 counts as 1."""

    def core(self, h: Tensor) -> Tensor:
        coeff = max(-1.0, min(1.0, self.coeff))
        return h * (self.S.to(h.dtype) * gain(self.g.to(h.dtype), coeff, self.config.suppress_only))


class AntiPaSTORotTurnsByTheConfig(AntiPaSTORot):
    """The angles are multiplied by the config's coefficient; steer() reaches delta alone."""

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        steered, self.coeff = self.coeff, self.config.coeff
        try:
            return super().rotation(angles, dtype)
        finally:
            self.coeff = steered


class AntiPaSTORotBothInLargeBlocks(AntiPaSTORot):
    """Where both sides turn in blocks of more than 2, the left one turns the other way."""

    def core(self, h: Tensor) -> Tensor:
        if self.config.rotate_basis != "both" or self.config.block_size == 2:
            return super().core(h)
        p = self._parameters["angles_u"]
        assert p is not None
        self._parameters["angles_u"] = -p  # type: ignore[assignment]
        try:
            return super().core(h)
        finally:
            self._parameters["angles_u"] = p


class AntiPaSTOArrowTransposesLargeBlocks(AntiPaSTOArrow):
    """A block of 8 or more mixes its directions the other way round."""

    def core(self, h: Tensor) -> Tensor:
        if self.config.block < 8:
            return super().core(h)
        M, self._parameters["M"] = self.M, self.M.T  # type: ignore[assignment]
        try:
            return super().core(h)
        finally:
            self._parameters["M"] = M  # type: ignore[assignment]


class AntiPaSTOAblateNeverWhole(AntiPaSTOAblate):
    """A share above 1 is not cut: more than the whole direction is removed."""

    def core(self, h: Tensor) -> Tensor:
        h = h * self.S.to(h.dtype)
        Q, alpha = self.directions(h.dtype), self.alpha.to(h.dtype).clamp(min=0)
        return plus_product(h, h @ Q, (Q * alpha).T, -self.coeff)


class AntiPaSTOAblateThirdIsNotOrthogonal(AntiPaSTOAblate):
    """Of three directions and more, each is made orthogonal to the one before it alone."""

    def directions(self, dtype: torch.dtype) -> Tensor:
        if self.config.k < 3:
            return super().directions(dtype)
        c = self.c.to(dtype)
        columns = [c[:, 0] / c[:, 0].norm()]
        for i in range(1, self.config.k):
            rest = c[:, i] - columns[-1] * (columns[-1] @ c[:, i])
            columns.append(rest / rest.norm())
        return torch.stack(columns, dim=1)
