"""ROAD, correctly, in other words."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from refs.settings import Settings
from refs.subject import FLAT
from variants.road import ROAD

PER_PAIR = {"road_1": 1, "road_2": 2, "road_4": 4}


class _OfRows(ROAD):
    """What each output i of a pair takes: ``c1[i] y_i + c2[i] (J y)_i``."""

    def per_output(self) -> tuple[Tensor, Tensor]:
        """c1 and c2, each ``(groups, 2, group_size / 2)``."""
        half = self.config.group_size // 2
        theta, alpha = (t.reshape(-1, PER_PAIR[self.config.kind], half) for t in (self.theta, self.alpha))
        cosines, sines = alpha * theta.cos(), alpha * theta.sin()
        if self.config.kind == "road_4":
            return cosines[:, :2], sines[:, 2:]
        return cosines.expand(-1, 2, half), sines.expand(-1, 2, half)

    def halves(self) -> tuple[Tensor, Tensor]:
        """Indices of the first and of the second output of every pair."""
        places = torch.arange(self.d_out).reshape(-1, 2, self.config.group_size // 2)
        return places[:, 0].reshape(-1), places[:, 1].reshape(-1)


class ROADByComplexNumbers(_OfRows):
    """A pair is a complex number y1 + i y2: the real part of one product, the imaginary part of another."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        c1, c2 = self.per_output()
        wide = torch.promote_types(torch.promote_types(y.dtype, self.theta.dtype), torch.float32)
        first, second = self.halves()
        z = torch.complex(y[..., first].to(wide), y[..., second].to(wide))
        turn = torch.complex(c1.to(wide), c2.to(wide))
        out = torch.empty(y.shape, dtype=wide)
        real, imaginary = (z * turn[:, 0].reshape(-1)).real, (z * turn[:, 1].reshape(-1)).imag
        out = out.index_copy(-1, first, real).index_copy(-1, second, imaginary)
        return out.to(y.dtype)


class ROADAsMatrix(_OfRows):
    """R is formed as a matrix of d_out x d_out, and R W and R b take the place of W and b."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(y.dtype, self.theta.dtype), torch.float32)
        c1, c2 = (c.reshape(-1).to(wide) for c in self.per_output())
        first, second = self.halves()
        J = torch.zeros(self.d_out, self.d_out, dtype=wide)
        J[first, second], J[second, first] = -1, 1
        R = torch.diag(c1) + c2[:, None] * J
        bias = None if layer.bias is None else R @ layer.bias.to(wide)
        return F.linear(x.to(wide), R @ layer.weight.to(wide), bias).to(y.dtype)


class ROADByRolling(Wrapper):
    """A plain module that stores its numbers group by group: J y is y rolled by half a group, signed."""

    names: ClassVar = {"theta": ("angle", FLAT), "alpha": ("size", FLAT)}

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__(inner, settings)
        self.kind = settings.option("kind", "road_1")

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        self.half = settings.option("group_size", 64) // 2
        shape = (len(W) // (2 * self.half), PER_PAIR[settings.option("kind", "road_1")] * self.half)
        return {"angle": torch.zeros(shape), "size": torch.ones(shape)}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        groups = y.unflatten(-1, (len(self.angle), 2 * self.half))
        sign = torch.ones(2 * self.half, dtype=self.angle.dtype)
        sign[: self.half] = -1
        width = 2 * self.half
        angle, size = (t if self.kind != "road_1" else t.repeat(1, 2) for t in (self.angle, self.size))
        c1 = (size * angle.cos())[:, :width]
        c2 = (size * angle.sin())[:, -width:]
        return (groups * c1 + groups.roll(self.half, dims=-1) * (sign * c2)).flatten(-2).to(y.dtype)
