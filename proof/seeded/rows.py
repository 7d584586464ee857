"""Calibration rows kept as they come: what a seeded fault or a re-writing makes its own statistics of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor


class Rows:
    """All rows of a layer's calibration inputs, in float64, batch by batch."""

    share_key = None

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Take in ``rows: (n, d_in)``."""
        self.batches.append(rows.detach().to(torch.float64))

    @property
    def n(self) -> int:
        return sum(map(len, self.batches))

    @property
    def pooled(self) -> Tensor:
        """``(n, d_in)``."""
        return torch.cat(self.batches)

    @property
    def centred(self) -> Tensor:
        """``(n, d_in)``, less their mean."""
        return self.pooled - self.pooled.mean(dim=0)


def shared_out(config: Any, shares: Mapping[str, Tensor], most: float) -> dict[str, Any]:
    """EVA's ranks from the directions' shares of each layer's variance: a config per layer that keeps any.

    ``config.r`` per layer in all, the largest shares first, at most ``most`` in one layer.
    """
    every = [(share, name) for name, own in shares.items() for share in own.tolist()[: round(most)]]
    kept = Counter(name for _, name in sorted(every, key=lambda one: -one[0])[: config.r * len(shares)])
    scaled = config.alpha / config.r if config.adjust_scaling else 0.0
    return {
        name: replace(config, r=kept[name], alpha=scaled * kept[name] or config.alpha) for name in shares if kept[name]
    }
