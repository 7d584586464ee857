"""Rotation and scaling of pairs of outputs (RoAd, Liao and Monz 2024, arXiv 2409.00119).

    y' = y * c1 + J y * c2        y = W x + b,  c1 = alpha cos(theta), c2 = alpha sin(theta): (d_out,)

Computed as ``y * c1`` plus the swapped halves of y times c2 with the signs of J: J y is not stored; the backward pass
keeps only y.

The outputs are cut into groups of ``group_size``; output i of the first half of a group and output i of its second
half make a pair (y1, y2), and J maps it to (-y2, y1). The bias is rotated, too. ``kind`` says which entries share an
angle and a scale:

- ``road_1``: the two outputs of a pair; theta and alpha: (d_out / 2,); the matrix of a pair is alpha times a rotation;
- ``road_2``: none, each output has its own; theta and alpha: (d_out,);
- ``road_4``: none, and c1 and c2 have their own; theta and alpha: (2 d_out,), c1's before c2's within each group.

Identity at t=0: theta = 0 and alpha = 1 exactly. In road_1 and road_2 both are live. In road_4 half of each is dead at
t=0: alpha where it belongs to c2 (sin 0 = 0), and theta where it belongs to c1 (the slope of cos at 0).
Reference: ``peft.tuners.road.layer``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.spec import TensorSpec

NUMBERS_PER_PAIR = {"road_1": 1, "road_2": 2, "road_4": 4}


@documented
@dataclass(frozen=True, kw_only=True)
class ROADConfig(AdapterConfig):
    """Configuration of RoAd."""

    kind: str = option(
        "road_1",
        "what shares an angle and a scale: both outputs of a pair (road_1), none (road_2), not even c1 and c2 (road_4)",
        range="road_1, road_2, road_4",
        symbol="shapes of theta and alpha",
        paper="RoAd1, RoAd2, RoAd4",
        peft="variant",
        change="road_2 and road_4 train twice and four times as many parameters",
    )
    group_size: int = option(
        64,
        "size of the groups in which outputs are paired, first half with second half",
        range="an even integer of at least 2 that divides d_out",
        symbol="J",
        peft="group_size",
        change="lower it if it does not divide d_out",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("kind", self.kind, tuple(NUMBERS_PER_PAIR))
        even = type(self.group_size) is int and self.group_size > 0 and self.group_size % 2 == 0
        self.require(even, "group_size", self.group_size, "an even integer of at least 2")


class ROAD(Adapter):
    """See the module's docstring."""

    name = "road"
    Config = ROADConfig
    config: ROADConfig
    theta: Tensor
    alpha: Tensor

    @classmethod
    def specs(cls, config: ROADConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        shape = (d_out // 2 * NUMBERS_PER_PAIR[config.kind],)
        return {"theta": TensorSpec(shape, "zeros"), "alpha": TensorSpec(shape, "ones")}

    def check_layer(self, layer: nn.Module) -> None:
        if self.d_out % self.config.group_size:
            raise AdapterError(
                got=f"group_size={self.config.group_size}",
                want=f"a divisor of the layer's {self.d_out} outputs",
                where=f"{self.name} on a layer {self.d_in} -> {self.d_out}",
                fix="Choose another group_size, or leave this layer out with Targets(exclude=...).",
            )

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        c1, (of_second, of_first) = self._kept((self.theta, self.alpha), self.columns)
        pairs = y.reshape(*y.shape[:-1], *c1.shape)
        first, second = pairs.unbind(-2)
        crossed = torch.stack((second * of_second, first * of_first), dim=-2)
        return torch.addcmul(crossed, pairs, c1).reshape(y.shape).to(y.dtype)

    def columns(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """c1, ``(groups, 2, group_size / 2)``, and c2 by halves with the signs of J, ``(groups, group_size / 2)``."""
        half = self.config.group_size // 2
        if self.config.kind == "road_4":
            (theta1, theta2), (alpha1, alpha2) = (t.view(-1, 2, 2, half).unbind(1) for t in (self.theta, self.alpha))
        else:
            theta1, alpha1 = (t.view(-1, NUMBERS_PER_PAIR[self.config.kind], half) for t in (self.theta, self.alpha))
            theta2, alpha2 = theta1, alpha1
        c1, c2 = alpha1 * theta1.cos(), alpha2 * theta2.sin()
        first, second = c2.expand(-1, 2, -1).unbind(1)
        return c1.expand(-1, 2, -1), (-first, second)
