"""Calibration inputs that both sides of a comparison are given, by name. Made in NumPy, the same on every machine.

- ``rows``: correlated rows with a mean, in batches of different sizes.
- ``masked``: the same rows with padding between them that a mask marks and that must not count.
- ``gap``: rows whose covariance falls steeply, so that its leading directions are clear.
- ``mean``: rows with a mean that is large beside their spread.
- ``spikes``: small rows, and now and then one that is large along a few directions: a root mean square sees these
  directions first, a mean of absolute values does not.
- ``outliers``: each input has a size of its own, from 300 down to 0.01: in single precision the small ones drown.
- ``faint``: small rows, beside which nothing else may count; other directions lead in each batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

KINDS = ("rows", "masked", "gap", "mean", "spikes", "outliers", "faint")
SIZES = (24, 31, 41)
"""Rows per batch; more than the ranks in use in each."""


@dataclass(frozen=True)
class Batch:
    """Inputs ``x: (1, n, d_in)`` and, if there is padding, ``mask: (1, n)`` with 0 where it is."""

    x: Tensor
    mask: Tensor | None = None

    @property
    def kept(self) -> Tensor:
        """The rows that count: ``(n, d_in)``."""
        return self.x[0] if self.mask is None else self.x[0][self.mask[0] != 0]


_nudge = 0.0


@contextmanager
def nudged(by: float) -> Iterator[None]:
    """Inside, each calibration input is larger or smaller by the share ``by``, in a fixed pattern of signs.

    A start that follows from data is known no better than the data: see ``conformance.measuring.conditioning``.
    """
    global _nudge
    before, _nudge = _nudge, by
    try:
        yield
    finally:
        _nudge = before


def nudge() -> float:
    """The share in force: part of the key of whatever is cached and made from the inputs."""
    return _nudge


_rounded: torch.dtype | None = None


@contextmanager
def rounded_to(dtype: torch.dtype) -> Iterator[None]:
    """Inside, each calibration input is rounded to ``dtype`` before it is cast to that of the layer."""
    global _rounded
    before, _rounded = _rounded, dtype
    try:
        yield
    finally:
        _rounded = before


def batches(kind: str, d_in: int, dtype: torch.dtype) -> tuple[Batch, ...]:
    """The batches called ``kind`` for a layer of ``d_in`` inputs. KeyError for an unknown name."""
    made = []
    for rows, kept in _numbers(kind, d_in, _nudge):
        x = torch.tensor(rows).to(_rounded or dtype).to(dtype)[None]
        if kept is None:
            made.append(Batch(x))
            continue
        mask = torch.tensor(kept)[None].to(torch.int64)
        made.append(Batch(torch.where(mask[..., None] != 0, x, torch.full_like(x, 9.0)), mask))
    return tuple(made)


@lru_cache(maxsize=64)
def _numbers(kind: str, d_in: int, by: float) -> tuple[tuple[np.ndarray, np.ndarray | None], ...]:
    """Rows and mask of each batch, which are made anew for each of hundreds of layers otherwise."""
    rng = np.random.default_rng([7, d_in])
    spectrum, mean = _shape(kind, d_in)
    basis = np.linalg.qr(rng.standard_normal((d_in, d_in)))[0] if kind != "outliers" else np.eye(d_in)
    mean_row = mean * rng.standard_normal(d_in)
    made = []
    for number, size in enumerate(SIZES):
        along = np.roll(spectrum, number * d_in // len(SIZES)) if kind == "faint" else spectrum
        rows = (rng.standard_normal((size, d_in)) * along) @ basis + mean_row
        if kind == "spikes":
            rows[::8] += 60.0 * rng.standard_normal((len(rows[::8]), 1)) @ basis[:1]
        rows *= 1 + by * np.sign(np.sin(2.399963 * np.arange(rows.size).reshape(rows.shape)))
        made.append((rows, rng.random(size) < 0.75 if kind == "masked" else None))
    return tuple(made)


def pooled(kind: str, d_in: int, dtype: torch.dtype) -> Tensor:
    """All rows that count, ``(n, d_in)``."""
    return torch.cat([batch.kept for batch in batches(kind, d_in, dtype)])


def whole(kind: str, d_in: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """All rows, padding included, ``(n, d_in)``, and the mask over them, if there is one."""
    made = batches(kind, d_in, dtype)
    masks = [batch.mask[0] for batch in made if batch.mask is not None]
    return torch.cat([batch.x[0] for batch in made]), torch.cat(masks) if masks else None


def _shape(kind: str, d_in: int) -> tuple[np.ndarray, float]:
    """Standard deviation along each direction, and the size of the mean."""
    return {
        "rows": (np.linspace(2.0, 0.5, d_in), 0.5),
        "masked": (np.linspace(2.0, 0.5, d_in), 0.5),
        "gap": (4.0 * 0.5 ** np.arange(d_in), 0.5),
        "mean": (np.linspace(2.0, 0.5, d_in), 20.0),
        "spikes": (np.linspace(0.5, 2.0, d_in), 0.0),
        "outliers": (300.0 * np.logspace(0, -4.5, d_in), 0.0),
        "faint": (4e-3 * 0.5 ** np.arange(d_in), 0.0),
    }[kind]
