"""Pullbacks of the AntiPaSTO family: gains, rotations, ablation.

All are W' = W_res + U K Vh with frozen U and Vh, so that dK = U^T G Vh^T.
"""

from __future__ import annotations

import numpy as np

from refs.reference import Array


def core(U: Array, right: Array, G: Array) -> Array:
    """dK: ``(r, r)``."""
    dK: Array = U.T @ G @ right.T
    return dK


def gain(g: Array, coeff: float, suppress_only: bool, dE: Array) -> Array:
    """Of E(z), z = coeff g or coeff min(g, 0): slope 1 above 0, exp(z) below; a clamped g gets nothing."""
    z = coeff * (np.minimum(g, 0) if suppress_only else g)
    slope = np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))
    passes = g <= 0 if suppress_only else np.ones_like(g, dtype=bool)
    return np.where(passes, coeff * slope * dE, 0.0)


def rotation(p: Array, size: int, limit: float, coeff: float, kind: str, dR: Array) -> Array:
    """Of blockdiag(R(X)), X the skew matrix of ``coeff limit tanh(p / (2 limit)) / 2``; ``dR: (r, r)``.

    Cayley: R = (I - X)^-1 (I + X), so dX = (I - X)^-T dR (R + I)^T. Exponential of 2 X: with the unitary eigenvectors Q
    of the skew X and its eigenvalues l,  dX = 2 (Q (Q^H dR Q . F^*) Q^H), F_jk = (e^2lj - e^2lk) / (2 lj - 2 lk).
    """
    rows = []
    upper = np.triu_indices(size, 1)
    for n, row in enumerate(p):
        A = np.zeros((size, size))
        squashed = np.tanh(row / (2 * limit))
        A[upper] = coeff * limit * squashed / 2
        X, part = A - A.T, slice(n * size, (n + 1) * size)
        dX = _exponential(X, dR[part, part]) if kind == "matrix_exp" else _cayley(X, dR[part, part])
        skewed = (dX - dX.T)[upper]
        rows.append(skewed * coeff * (1 - squashed**2) / 4)
    return np.array(rows).reshape(p.shape)


def _cayley(X: Array, dR: Array) -> Array:
    one = np.eye(len(X))
    R = np.linalg.solve(one - X, one + X)
    return np.asarray(np.linalg.solve((one - X).T, dR @ (R + one).T))


def _exponential(X: Array, dR: Array) -> Array:
    values, Q = np.linalg.eigh(-1j * X)
    l2 = 2j * values
    gap = l2[:, None] - l2[None, :]
    e = np.exp(l2)
    far = np.abs(gap) > 1e-8
    F = np.where(far, (e[:, None] - e[None, :]) / np.where(far, gap, 1), (e[:, None] + e[None, :]) / 2)
    return np.asarray(2 * (Q @ ((Q.conj().T @ dR @ Q) * F.conj()) @ Q.conj().T).real)


def directions(c: Array, shares: Array, clipped: Array, dM: Array, eps: float) -> dict[str, Array]:
    """Of M = Q diag(shares) Q^T:  dshares_k = q_k^T dM q_k,  dQ = (dM + dM^T) Q diag(shares).

    One column: q = c / (|c| + eps). More: Q R = c, dc = (dQ + Q sym) R^-T with sym from the lower triangle of
    -dQ^T Q, mirrored. ``clipped``: whether each share passes a gradient.
    """
    if c.shape[1] == 1:
        length = np.sqrt((c * c).sum())
        Q = c / (length + eps)
    else:
        Q, R = np.linalg.qr(c)
    dQ = (dM + dM.T) @ Q * shares
    d_alpha = np.where(clipped, np.einsum("ik,ij,jk->k", Q, dM, Q), 0.0)
    if c.shape[1] == 1:
        inward = (c * dQ).sum() / (length * (length + eps) ** 2)
        return {"c": dQ / (length + eps) - inward * c, "alpha": d_alpha}
    M = -dQ.T @ Q
    mirrored = np.tril(M) + np.tril(M, -1).T
    return {"c": np.linalg.solve(R, (dQ + Q @ mirrored).T).T, "alpha": d_alpha}
