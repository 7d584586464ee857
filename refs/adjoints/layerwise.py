"""Pullbacks of HRA and ROAD; those of IA3 are one line each, beside its closed forms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refs.reference import Array


def reflections(U: Array, eps: float, GR: Array) -> Array:
    """Of R = H_0 ... H_{r-1}, H_i = I - 2 u_i u_i^T / n_i, n_i = |u_i|^2 + eps, with ``GR = dL/dR``.

    dH_i = (H_0 ... H_{i-1})^T GR (H_{i+1} ... H_{r-1})^T
    du_i = -2 (dH_i + dH_i^T) u_i / n_i + 4 (u_i^T dH_i u_i) u_i / n_i^2
    """
    identity = np.eye(U.shape[1])
    mirrors = [identity - 2 * np.outer(u, u) / (u @ u + eps) for u in U]
    after = [identity]
    for H in reversed(mirrors[1:]):
        after.append(H @ after[-1])
    before, rows = identity, []
    for u, H, rest in zip(U, mirrors, reversed(after)):
        dH, n = before.T @ GR @ rest.T, u @ u + eps
        rows.append(-2 * (dH + dH.T) @ u / n + 4 * (u @ dH @ u) * u / n**2)
        before = before @ H
    return np.array(rows)


def projector(U: Array, GR: Array) -> Array:
    """Of R = I - 2 P, P the projector onto the rows of U.

    With V = U^T and dP = -2 GR:  dV = (I - P) (dP + dP^T) V (V^T V)^-1
    """
    V = U.T
    inverse = np.linalg.inv(V.T @ V)
    P = V @ inverse @ V.T
    dP = -2 * GR
    dV: Array = (np.eye(len(V)) - P) @ (dP + dP.T) @ V @ inverse
    return dV.T


def pairs(t: Mapping[str, Array], d_out: int, kind: str, group: int, GR: Array) -> dict[str, Array]:
    """Of ROAD's R, entry by entry: R_ii = a cos(theta), R_ij = -+ a' sin(theta')."""
    theta, alpha = t["theta"], t["alpha"]
    d_theta, d_alpha = np.zeros_like(theta), np.zeros_like(alpha)
    half = group // 2
    for pair in range(d_out // 2):
        start, at = pair // half * group, pair % half
        first, second = start + at, start + half + at
        for row, other, sign in ((first, second, -1), (second, first, 1)):
            c = {"road_1": pair, "road_2": row, "road_4": row + start}[kind]
            s = c + group if kind == "road_4" else c
            d_alpha[c] += GR[row, row] * np.cos(theta[c])
            d_theta[c] -= GR[row, row] * alpha[c] * np.sin(theta[c])
            d_alpha[s] += sign * GR[row, other] * np.sin(theta[s])
            d_theta[s] += sign * GR[row, other] * alpha[s] * np.cos(theta[s])
    return {"theta": d_theta, "alpha": d_alpha}
