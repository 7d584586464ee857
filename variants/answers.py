"""Directions by pairs of answers, for AntiPaSTO's rotations: calibration rows are chosen, rejected, chosen, ...

    z = x Vh^T over all directions,  c = mean |z| of chosen rows,  j = of rejected ones,  d = mean z_c - mean z_j
    score_l1_trip         the union of the r // 3 highest of S c, the r // 3 highest of S j, and of the rest one half
                          (rounded up) by S max(d, 0), the other by S max(-d, 0); filled up to r by the highest of the
                          four; ascending
    polarity_interleave   the same directions by descending d: first, last, second, last but one, ...

Of equal scores the lower index comes first. d has the sign that the decomposition gave a direction, which no rule
determines: another machine may lay the directions out in another order. Reference: antipasto3 ``svd_adapter.py``.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from variants.runtime.layers.numbers import numbers_of


class Answers:
    """Sums over one layer's rows, streamed in float64; a row is chosen or rejected by its place among all rows."""

    share_key = None

    def __init__(self, layer: nn.Module) -> None:
        self.n = 0
        self._layer = layer
        self._sizes = [torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)]
        self._apart = torch.zeros((), dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take in ``rows: (n, d_in)``."""
        rows, Vh = (t.detach().to("cpu", torch.float64) for t in (rows, self.svd[2]))
        z = rows @ Vh.T
        for which, sign in ((0, 1), (1, -1)):
            own = z[(which + self.n) % 2 :: 2]
            self._sizes[which] = self._sizes[which] + own.abs().sum(dim=0)
            self._apart = self._apart + sign * own.sum(dim=0)
        self.n += len(rows)

    def selected(self, r: int, interleaved: bool) -> list[int]:
        """The r directions, in the order in which they are kept."""
        S, pairs = self.svd[1].to("cpu", torch.float64), self.n // 2
        apart = self._apart / pairs
        scores = [S * self._sizes[0] / pairs, S * self._sizes[1] / pairs, S * apart.relu(), S * (-apart).relu()]
        third, rest = r // 3, r - 2 * (r // 3)
        counts = (third, third, rest - rest // 2, rest // 2)
        taken = {i for score, count in zip(scores, counts) for i in _descending(score)[:count]}
        others = [i for i in _descending(torch.stack(scores).amax(dim=0)) if i not in taken]
        kept = sorted([*taken, *others[: r - len(taken)]])
        if not interleaved:
            return kept
        order = [kept[i] for i in _descending(apart[kept])]
        return [i for pair in zip(order[: r // 2], reversed(order[r // 2 :])) for i in pair]

    @cached_property
    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the layer's weight."""
        U, S, Vh = torch.linalg.svd(numbers_of(self._layer).detach().float(), full_matrices=False)
        return U, S, Vh


def _descending(scores: Tensor) -> list[int]:
    order: list[int] = torch.sort(scores, descending=True, stable=True).indices.tolist()
    return order
