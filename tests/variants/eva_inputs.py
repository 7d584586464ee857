"""Calibration rows with known spectra, and what EVA should make of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from variants import EVAConfig, attach

D, R = 64, 8


def batches(spectrum: Tensor, count: int, mean: float = 0.0, rows: int = 64) -> list[Tensor]:
    """Inputs with these standard deviations along random directions, about a random mean of this size."""
    d = len(spectrum)
    Q = torch.linalg.qr(torch.randn(d, d)).Q
    about = mean * torch.randn(d)
    return [(torch.randn(rows, d) * spectrum) @ Q.T + about for _ in range(count)]


def decaying() -> Tensor:
    """No gap anywhere, as in activations."""
    return torch.arange(1, D + 1).float() ** -0.5


def with_gap() -> Tensor:
    """R directions well above the rest."""
    return torch.cat([torch.linspace(8, 4, R), torch.full((D - R,), 0.05)])


def pca(rows: list[Tensor], r: int = R) -> tuple[Tensor, Tensor]:
    """Directions and singular values of the pooled, centred rows in float64."""
    X = torch.cat([b.reshape(-1, b.shape[-1]) for b in rows]).double()
    _, S, Vh = torch.linalg.svd(X - X.mean(dim=0), full_matrices=False)
    return Vh[:r], S[:r]


def sine(A: Tensor, B: Tensor) -> float:
    """Of the largest principal angle between the row spaces."""
    P, Q = (torch.linalg.qr(M.double().T).Q for M in (A, B))
    return float(torch.linalg.matrix_norm(P - Q @ (Q.T @ P), ord=2))


def start(rows: list[Any], r: int = R, **options: Any) -> Tensor:
    """A as the variant starts it on one layer."""
    adapter: Any = attach(nn.Linear(rows[0].shape[-1], 3), EVAConfig(r=r, **options), calibration=rows).layers[""]
    A: Tensor = adapter.A.detach()
    return A
