"""Pullbacks of LoRA, DoRA and DeLoRA."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refs.reference import Array


def low_rank(A: Array, B: Array, s: float, G: Array) -> dict[str, Array]:
    """Of W' = W + s B A:  dA = s B^T G,  dB = s G A^T."""
    return {"A": s * B.T @ G, "B": s * G @ A.T}


def magnitude(t: Mapping[str, Array], W: Array, s: float, G: Array) -> dict[str, Array]:
    """Of W' = (m / n) V, V = W + s B A, n = |V|_row a constant:  dm = (G . V)_row / n,  dV = (m / n) G."""
    V = W + s * t["B"] @ t["A"]
    n = np.sqrt((V * V).sum(axis=1))
    share = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)
    factor = np.where(n > 0, t["m"] * share, 1.0)
    return {**low_rank(t["A"], t["B"], s, factor[:, None] * G), "m": (G * V).sum(axis=1) * share}


def magnitude_and_norm(t: Mapping[str, Array], W: Array, s: float, G: Array) -> dict[str, Array]:
    """The same with n no constant:  dm = (G . V)_row / n,  dV = (m / n) (G - (G . V)_row V / n^2)."""
    V = W + s * t["B"] @ t["A"]
    n = np.sqrt((V * V).sum(axis=1))
    share = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)
    along = ((G * V).sum(axis=1) * share * share)[:, None] * V
    factor = np.where(n > 0, t["m"] * share, 1.0)
    return {**low_rank(t["A"], t["B"], s, factor[:, None] * (G - along)), "m": (G * V).sum(axis=1) * share}


def normalised(t: Mapping[str, Array], r: int, floor: float, frozen: Array | float, G: Array) -> dict[str, Array]:
    """Of W' = W + (lam / r) (N - frozen) diag(w), N = sum_i b_i a_i^T / (alpha_i beta_i), the norms at least ``floor``.

    With P = (lam / r) G diag(w) and c_i = b_i^T P a_i:
    da_i = P^T b_i / (alpha_i beta_i) - c_i a_i / (alpha_i beta_i |a_i|^2), the second term where |a_i| is above the
    floor; db_i likewise.
    """
    A, B, w, lam = t["A"], t["B"], t["w"], t["lam"]
    P = lam / r * G * w
    a, b = np.sqrt((A * A).sum(axis=1)), np.sqrt((B * B).sum(axis=0))
    alpha, beta = np.maximum(a, floor), np.maximum(b, floor)
    c = np.einsum("or,oi,ri->r", B, P, A) / (alpha * beta)
    along_a = np.divide(c, a * a, out=np.zeros_like(c), where=a > floor)
    along_b = np.divide(c, b * b, out=np.zeros_like(c), where=b > floor)
    N = (B / beta) @ (A / alpha[:, None])
    return {
        "A": (B / (alpha * beta)).T @ P - along_a[:, None] * A,
        "B": P @ (A / (alpha * beta)[:, None]).T - B * along_b,
        "lam": np.full_like(lam, (G * (N - frozen) * w).sum() / r),
    }
