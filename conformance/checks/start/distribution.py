"""Random tensors of a start, over many seeds: the same distribution, and the same repeats and ties within a draw."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from conformance.measuring.compare import Comparison, holds, same

SIGNIFICANCE = 1e-7
"""Of the Kolmogorov-Smirnov test; the seeds are fixed, so this is no chance from run to run."""
STANDARD_ERRORS = 7.0
"""Limit of a difference of means; the seeds are fixed here too."""
SPREAD = 0.04
"""Relative tolerance on the standard deviation over all draws (8192 and more numbers); 2.5 times it at the edge."""
DISTINCT = "share of distinct values at t=0"
SPREAD_OF, EDGE_OF = "spread at t=0", "largest value at t=0"
CERTAIN = 4.0
"""A spread or an edge that is this many standard errors beyond its limit is off, and not by chance."""
OF_SPREAD, OF_EDGE = 1.0, 3.9
"""Their relative standard errors over sqrt(n), for n numbers of a normal distribution on each side."""
STEPS = (128, 256, 512, 1024, 2048)
"""How many draws are made, one after the other, until it is decided."""
TELLING = 4096
"""So many numbers at least must agree where fewer did not."""


def distribution(name: str, got: Tensor, want: Tensor) -> list[Comparison]:
    """Everything that draws ``(draws, ...)`` of one tensor on two sides must have in common."""
    n = got.numel() + want.numel()
    a, b = got.double().numpy().ravel(), want.double().numpy().ravel()
    if a.size != b.size:
        return [same(tuple(got.shape[1:]), tuple(want.shape[1:]), name, "shape")]
    gap, limit = kolmogorov_smirnov(a, b)
    return [
        same(str(got.dtype), str(want.dtype), name, "dtype"),
        Comparison(
            name,
            n,
            gap <= limit,
            gap,
            limit,
            got=f"std {a.std():.4g}",
            want=f"std {b.std():.4g}",
            numeric=True,
            aspect="distribution at t=0",
        ),
        _within(name, SPREAD_OF, a.std(), b.std(), SPREAD),
        _mean(name, a, b),
        *_together(name, got, want),
        _within(name, EDGE_OF, _edge(a), _edge(b), 2.5 * SPREAD),
        # Vectors that repeat (as HRA's pairs do) have the same distribution and another meaning; so has their order.
        _within(name, DISTINCT, distinct(got), distinct(want), 0.02),
        same(_repeats(got[0]), _repeats(want[0]), name, "which rows or columns repeat at t=0"),
        holds(
            bool((got[0] != got[1]).any()), name, "the same for two seeds", "a new draw", aspect="depends on the seed"
        ),
    ]


def by_chance(comparisons: list[Comparison], numbers: int) -> bool:
    """Whether what differs may do so since too little was drawn: nothing but a spread or an edge, and by little."""
    wrong = [c for c in comparisons if not c.agrees]
    return bool(wrong) and all(c.aspect in (SPREAD_OF, EDGE_OF) and _may_be_chance(c, numbers) for c in wrong)


def _may_be_chance(comparison: Comparison, numbers: int) -> bool:
    of, tolerance = (OF_SPREAD, SPREAD) if comparison.aspect == SPREAD_OF else (OF_EDGE, 2.5 * SPREAD)
    standard_error = of / numbers**0.5 * comparison.limit / tolerance
    return bool(comparison.error <= comparison.limit + CERTAIN * standard_error)


def _within(name: str, aspect: str, got: float, want: float, tolerance: float) -> Comparison:
    error = abs(got - want)
    limit = tolerance * abs(want)
    told = (f"{got:.4g}", f"{want:.4g}")
    return Comparison(name, 1, error <= limit, error, limit, "", *told, numeric=True, aspect=aspect)


def _mean(name: str, a: np.ndarray, b: np.ndarray) -> Comparison:
    error = abs(a.mean() - b.mean())
    # Values that stand several times (HRA's pairs) count once.
    counts = (len(np.unique(v)) for v in (a, b))
    limit = STANDARD_ERRORS * b.std() * sum(1 / n for n in counts) ** 0.5
    told = (f"{a.mean():.2g}", f"{b.mean():.2g}")
    return Comparison(name, a.size, error <= limit, error, limit, "", *told, numeric=True, aspect="mean at t=0")


def _edge(a: np.ndarray) -> float:
    """Where all but a thousandth of the values end: the bound of a uniform distribution, stable for a normal one."""
    return float(np.quantile(np.abs(a), 0.999))


def distinct(draws: Tensor) -> float:
    """The share of numbers of a draw that stand there once, over all draws."""
    return float(np.mean([len(np.unique(draw.double().numpy())) / draw.numel() for draw in draws]))


def _repeats(draw: Tensor) -> list[str]:
    """Which rows (and slices of the other dimensions) repeat an earlier one: ``1 as 0 in dimension 0``."""
    found = []
    for dim in range(draw.dim()):
        first: dict[bytes, int] = {}
        for i, part in enumerate(draw.unbind(dim)):
            before = first.setdefault(part.double().numpy().tobytes(), i)
            if before != i:
                found.append(f"{i} as {before} in dimension {dim}")
    return found


def _together(name: str, got: Tensor, want: Tensor) -> list[Comparison]:
    """Whether rows, and columns, of a matrix hang together as the reference's do: mean cosine over the draws."""
    if got.dim() != 3:
        return []
    comparisons = []
    for side, (mine, other) in (("rows", (got, want)), ("columns", (got.mT, want.mT))):
        cosines = [_cosines(t).mean(0) for t in (mine.double(), other.double())]
        scatter = (2 / (len(got) * mine.shape[-1])) ** 0.5
        gap = (cosines[0] - cosines[1]).abs().max().item()
        limit = STANDARD_ERRORS * scatter
        told = (f"cosine off by {gap:.2g}", f"{limit:.2g}")
        aspect = f"{side} at t=0 together"
        comparisons.append(
            Comparison(name, got.numel(), gap <= limit, gap, limit, "", *told, numeric=True, aspect=aspect)
        )
    return comparisons


def _cosines(t: Tensor) -> Tensor:
    unit: Tensor = t / t.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    cosines: Tensor = unit @ unit.mT
    return cosines


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Two-sample statistic (largest gap of the empirical distributions) and its limit at ``SIGNIFICANCE``."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    gap = np.abs(np.searchsorted(a, at, "right") / a.size - np.searchsorted(b, at, "right") / b.size).max()
    return float(gap), float(np.sqrt(-np.log(SIGNIFICANCE / 2) / 2 * (a.size + b.size) / (a.size * b.size)))
