"""The options that low-rank methods share, wrong in the methods beside LoRA: alpha, rsLoRA, dropout."""

from __future__ import annotations

from torch import Tensor, nn

from variants.dora import DoRA, DoRAConfig
from variants.eva import EVA, EVAConfig
from variants.pissa import PiSSA, PiSSAConfig
from variants.runtime.adapter import Adapter


class _AlphaAsScale:
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha


class _RankAsDivisorAlways:
    alpha: float
    r: int

    @property
    def scale(self) -> float:
        return self.alpha / self.r


class _DoRAByAlpha(_AlphaAsScale, DoRAConfig):
    pass


class _PiSSAByAlpha(_AlphaAsScale, PiSSAConfig):
    pass


class _EVAByAlpha(_AlphaAsScale, EVAConfig):
    pass


class _DoRAByRank(_RankAsDivisorAlways, DoRAConfig):
    pass


class _PiSSAByRank(_RankAsDivisorAlways, PiSSAConfig):
    pass


class _NoDropout(Adapter):
    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        training, self.training = self.training, False
        out = super().change_output(layer, x, y)
        self.training = training
        return out


class DoRAAlphaNotDividedByRank(DoRA):
    """s = alpha: the division by r is forgotten."""

    Config = _DoRAByAlpha


class PiSSAAlphaNotDividedByRank(PiSSA):
    """s = alpha, in the decomposition as well."""

    Config = _PiSSAByAlpha


class EVAAlphaNotDividedByRank(EVA):
    """s = alpha: the division by r is forgotten."""

    Config = _EVAByAlpha


class DoRAIgnoresRsLoRA(DoRA):
    """rslora is accepted, and s stays alpha / r."""

    Config = _DoRAByRank


class PiSSAIgnoresRsLoRA(PiSSA):
    """rslora is accepted, and s stays alpha / r, in the decomposition as well."""

    Config = _PiSSAByRank


class DoRADropoutIgnored(_NoDropout, DoRA):
    """dropout is accepted and does nothing."""


class PiSSADropoutIgnored(_NoDropout, PiSSA):
    """dropout is accepted and does nothing."""


class EVADropoutIgnored(_NoDropout, EVA):
    """dropout is accepted and does nothing."""
