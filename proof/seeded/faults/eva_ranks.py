"""EVA whose ranks, or scales, go to the wrong layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from proof.seeded.faults.eva import EVAInParts
from proof.seeded.rows import Rows
from variants.eva import EVA


class EVASameRankForAll(EVA):
    """Every layer gets r, whatever rho is."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(layers, config)


class EVAScaleDoesNotFollow(EVA):
    """adjust_scaling is ignored: alpha stays where it was, and s moves against the rank."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        moved = super().assign(config, layers, statistics)
        return {name: replace(each, alpha=config.alpha) for name, each in moved.items()}


class EVARanksByVariance(EVA):
    """Directions of all layers compete by their variance, not by their share of their own layer's."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        return _most(config, layers, statistics, config.r * config.rho, whole=False)


class EVARanksWithoutACap(EVA):
    """A layer may get all the ranks there are: r rho is no limit."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        return _most(config, layers, statistics, 10**6, whole=True)


def _most(
    config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any], cap: float, *, whole: bool
) -> dict[str, Any]:
    shares = []
    for name, layer in layers.items():
        variances = statistics[name].principal[0]
        total = float(variances.sum()) if whole else 1.0
        shares += [(float(v) / total, name) for v in variances[: min(round(cap), layer.in_features)]]
    kept = [name for _, name in sorted(shares, reverse=True)[: config.r * len(layers)]]
    ranks = {name: kept.count(name) for name in layers if name in kept}
    scaled = config.alpha / config.r if config.adjust_scaling else 0.0
    return {name: replace(config, r=r, alpha=scaled * r or config.alpha) for name, r in ranks.items()}


class _RowsOfMany(Rows):
    """Rows that layers with the same input share, with the directions that were found in them."""

    share_key = ("rows of many",)
    found: tuple[Tensor, Tensor] | None = None


class EVAWhitensWhatIsShared(EVAInParts):
    """The rows of A are divided in place, in the array that layers with one input share: once for each of them."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return _RowsOfMany()

    def initial(self, layer: nn.Module, statistic: Rows) -> dict[str, Tensor]:
        assert isinstance(statistic, _RowsOfMany)
        if statistic.found is None:
            _, S, V = torch.linalg.svd(statistic.centred, full_matrices=False)
            statistic.found = S, V
        S, V = (t[: self.config.r] for t in statistic.found)
        if self.config.whiten:
            V /= S.sqrt()[:, None]
        return {"A": V.clone()}
