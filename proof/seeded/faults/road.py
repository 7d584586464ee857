"""ROAD computed wrongly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from variants.road import ROAD, ROADConfig
from variants.runtime.spec import TensorSpec


class ROADInParts(ROAD):
    """y * c1 + J y * c2 with c1 and c2 as whole rows, in parts that a bug can replace. Correct as it stands."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        c1, c2 = (c.reshape(-1) for c in self.rows(*self.shared(self.theta), *self.shared(self.alpha)))
        return (y * c1 + self.turned(y) * c2).to(y.dtype)

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What c1 and what c2 is made of, each ``(groups, 2, group_size / 2)``."""
        half = self.config.group_size // 2
        if self.config.kind == "road_4":
            first, second = t.reshape(-1, 2, 2, half).unbind(1)
            return first, second
        each = t.reshape(-1, 1 if self.config.kind == "road_1" else 2, half).expand(-1, 2, half)
        return each, each

    def rows(self, theta1: Tensor, theta2: Tensor, alpha1: Tensor, alpha2: Tensor) -> tuple[Tensor, Tensor]:
        return alpha1 * theta1.cos(), alpha2 * theta2.sin()

    def turned(self, y: Tensor) -> Tensor:
        pairs = self.pairs(y)
        return torch.stack((-pairs[..., 1, :], pairs[..., 0, :]), dim=-2).reshape(y.shape)

    def pairs(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (self.d_out // self.config.group_size, 2, self.config.group_size // 2))


class ROADTurnsBack(ROADInParts):
    """J turns (y1, y2) into (y2, -y1): every angle is its negative."""

    def turned(self, y: Tensor) -> Tensor:
        return -super().turned(y)


class ROADSwapsWithoutSign(ROADInParts):
    """J turns (y1, y2) into (y2, y1): a swap, and no rotation."""

    def turned(self, y: Tensor) -> Tensor:
        return self.pairs(y).flip(-2).reshape(y.shape)


class ROADHalvesOfTheWholeOutput(ROADInParts):
    """The halves of all outputs make the pairs, as if there were one group."""

    def turned(self, y: Tensor) -> Tensor:
        first, second = y.chunk(2, dim=-1)
        return torch.cat((-second, first), dim=-1)


class ROADPairsTheHalvesOfAll(ROADInParts):
    """group_size is accepted and ignored: the halves of all outputs are paired, angles and all."""

    def __init__(self, config: ROADConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(replace(config, group_size=layer.out_features), layer, **more)


class ROADGroupsOfFour(ROADInParts):
    """group_size is accepted, and groups hold four outputs."""

    def __init__(self, config: ROADConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(replace(config, group_size=4), layer, **more)


class ROADPairsNeighbours(ROADInParts):
    """Outputs 2i and 2i + 1 make a pair, as in some rotary embeddings, in place of the halves of a group."""

    def turned(self, y: Tensor) -> Tensor:
        pairs = y.unflatten(-1, (self.d_out // 2, 2))
        return torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).reshape(y.shape)


class ROADLeavesTheBias(ROADInParts):
    """W x is turned and the bias is added afterwards."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        bias = 0 if layer.bias is None else layer.bias
        return super().change_output(layer, x, y - bias) + bias


class ROADCutsTheBaseGradient(ROADInParts):
    """The frozen layer runs under no_grad: layers below get no gradient."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.detach())


class ROADExchangesSineAndCosine(ROADInParts):
    """c1 takes the sine and c2 the cosine: the start is a quarter turn."""

    def rows(self, theta1: Tensor, theta2: Tensor, alpha1: Tensor, alpha2: Tensor) -> tuple[Tensor, Tensor]:
        return alpha1 * theta1.sin(), alpha2 * theta2.cos()


class ROADScalesTheCosineOnly(ROADInParts):
    """c2 = sin(theta): alpha scales one of the two terms."""

    def rows(self, theta1: Tensor, theta2: Tensor, alpha1: Tensor, alpha2: Tensor) -> tuple[Tensor, Tensor]:
        return alpha1 * theta1.cos(), theta2.sin()


class ROADIgnoresTheScale(ROADInParts):
    """alpha is there, trains and is saved, and the outputs are only turned."""

    def rows(self, theta1: Tensor, theta2: Tensor, alpha1: Tensor, alpha2: Tensor) -> tuple[Tensor, Tensor]:
        return theta1.cos(), theta2.sin()


class ROADFirstOrder(ROADInParts):
    """cos = 1 and sin = theta, right for the angles of the first steps."""

    def rows(self, theta1: Tensor, theta2: Tensor, alpha1: Tensor, alpha2: Tensor) -> tuple[Tensor, Tensor]:
        return alpha1, alpha2 * theta2


class ROAD2SharesTheAngle(ROADInParts):
    """road_2 has an angle per output, and both outputs of a pair use the first one's."""

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        first, second = super().shared(t)
        return (
            (first[:, :1].expand_as(first), second[:, :1].expand_as(second))
            if self.config.kind == "road_2"
            else (
                first,
                second,
            )
        )


class ROAD2TakesThePartnersAngle(ROADInParts):
    """road_2: the turned term takes the angle of the output it comes from, a column's where a row's belongs."""

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        first, second = super().shared(t)
        return first, second.flip(1) if self.config.kind == "road_2" else second


class ROAD4ExchangesItsHalves(ROADInParts):
    """road_4 keeps c2's numbers before c1's."""

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        first, second = super().shared(t)
        return (second, first) if self.config.kind == "road_4" else (first, second)


class ROAD4HalvesOfTheWholeTensor(ROADInParts):
    """road_4 keeps c1's numbers of all groups before all of c2's; peft keeps them group by group."""

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.kind != "road_4":
            return super().shared(t)
        first, second = t.reshape(2, -1, 2, self.config.group_size // 2).unbind(0)
        return first, second


class ROADOneNumberPerPairAlways(ROADInParts):
    """kind is accepted, and every kind is road_1."""

    @classmethod
    def specs(cls, config: ROADConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"theta": TensorSpec((d_out // 2,)), "alpha": TensorSpec((d_out // 2,), "ones")}

    def shared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        half = self.config.group_size // 2
        each = t.reshape(-1, 1, half).expand(-1, 2, half)
        return each, each


class ROADScaleStartsAtZero(ROADInParts):
    """alpha starts at zero: the layer is silent at the start."""

    @classmethod
    def specs(cls, config: ROADConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {"theta": specs["theta"], "alpha": TensorSpec(specs["alpha"].shape)}


class ROADRandomAngles(ROADInParts):
    """Angles start at N(0, 1e-4): near the identity and not at it."""

    @classmethod
    def specs(cls, config: ROADConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {"theta": TensorSpec(specs["theta"].shape, "near_zero"), "alpha": specs["alpha"]}
