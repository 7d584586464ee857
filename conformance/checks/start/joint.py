"""Whether two random tensors of a start hang together as the reference's do: one draw may not serve for both."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from conformance.measuring.compare import Comparison

STANDARD_ERRORS = 7.0
"""Limit of a difference of correlations; the seeds are fixed, so this is no chance from run to run."""


def jointly(mine: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[Comparison]:
    """For each pair of tensors, as draws ``(draws, ...)``: the correlation of their numbers, in either layout."""
    comparisons = []
    for first, second in combinations(sorted(mine.keys() & other.keys()), 2):
        own, count = _correlations(mine[first], mine[second])
        theirs, _ = _correlations(other[first], other[second])
        gap, limit = (own - theirs).abs().max().item(), STANDARD_ERRORS * (2 / count) ** 0.5
        told, aspect = (f"a correlation off by {gap:.2g}", f"{limit:.2g}"), "correlation at t=0"
        name = f"{first} and {second} together"
        comparisons.append(Comparison(name, count, gap <= limit, gap, limit, "", *told, numeric=True, aspect=aspect))
    return comparisons


def _correlations(a: Tensor, b: Tensor) -> tuple[Tensor, int]:
    """Of number after number, with each tensor as it is and transposed; and of how many numbers."""
    rows = [[_standard(t) for t in (draws, draws.mT if draws.dim() == 3 else draws)] for draws in (a, b)]
    n = min(rows[0][0].shape[1], rows[1][0].shape[1])
    found = [(one[:, :n] * two[:, :n]).mean() for one in rows[0] for two in rows[1]]
    return torch.stack(found), n * len(a)


def _standard(draws: Tensor) -> Tensor:
    flat = draws.double().reshape(len(draws), -1)
    return (flat - flat.mean()) / flat.std().clamp(min=torch.finfo(torch.float64).tiny)
