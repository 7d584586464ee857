"""The top of a spectrum without the rest of it, by block Krylov (Musco and Musco 2015, arXiv 1504.05477)."""

from __future__ import annotations

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]
"""``U: (n, r), S: (r,), Vh: (r, m)``, S descending."""

EXTRA = 8
"""Columns of a block beyond r."""
LOOKS = (6, 9, 12)
"""After how many products with M M^T the answer is looked at."""
PAYS = 4
"""The space may take this part of the matrix's smaller side; beyond it, a decomposition as a whole is as quick."""
SETTLED = 1e-5
"""The answer is taken when the last two products turned it by at most this sine: what is left is far smaller."""
HOPELESS = 0.3
"""A sine at the first look beyond which the last one will not do either: the spectrum is too flat."""


def top_svd(W: Tensor, r: int) -> Triplets:
    """The r largest singular triplets of ``W: (d_out, d_in)``, as exact as a decomposition of all of W in its dtype.

    Of a large float32 matrix they are looked for in a Krylov space. W is decomposed as a whole where it is small, where
    its spectrum does not tell r directions apart from the rest, and in float64, which is asked for its digits.
    """
    found = krylov(W, r) if W.dtype == torch.float32 else None
    if found is None:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        found = U[:, :r], S[:r], Vh[:r]
    return found


def top_eigh(C: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a positive semidefinite ``C: (d, d)``, descending; their eigenvectors as rows."""
    found = krylov(C, k)
    if found is not None:
        return found[1], found[2]
    values, V = torch.linalg.eigh(C)
    return values.flip(0)[:k].clamp(min=0), V.T.flip(0)[:k]


def krylov(M: Tensor, r: int) -> Triplets | None:
    """The r largest singular triplets of ``M: (n, m)``, or None where that does not pay or does not settle.

        Q = orth[M G, (M M^T) M G, (M M^T)^2 M G, ...]      G: (m, r + 8) normal
        Q^T M = A diag(S) Vh,  U = Q A

    A vector of the answer is off by the part of it that Q does not hold, which every product makes smaller.
    """
    width = r + EXTRA
    if PAYS * (LOOKS[0] + 1) * width > min(M.shape):
        return None
    generator = torch.Generator().manual_seed(0)  # the global one stays as it was
    G = torch.randn(M.shape[1], width, generator=generator, dtype=M.dtype).to(M.device)
    Q, T = torch.linalg.qr(M @ G).Q, M.new_empty(0, M.shape[1])  # T = Q^T M
    for depth in range(1, LOOKS[-1] + 1):
        T = torch.cat((T, Q[:, -width:].T @ M))
        Y = M @ T[-width:].T
        # Where Q holds nearly all of Y, what is left of it is rounding: twice leaves U off by up to 1.6e-4.
        for _ in range(3):
            Y = torch.linalg.qr(Y - Q @ (Q.T @ Y)).Q
        Q = torch.cat((Q, Y), dim=1)
        if depth in LOOKS:
            if PAYS * Q.shape[1] > min(M.shape):
                return None
            Z, R = torch.linalg.qr(torch.cat((T, Y.T @ M)).T)
            A, S, Vh = torch.linalg.svd(R.T, full_matrices=False)
            turned = _sine(Vh[:r], torch.linalg.svd(R.T[: -2 * width], full_matrices=False).Vh[:r])
            if turned <= SETTLED:
                return Q @ A[:, :r], S[:r], Vh[:r] @ Z.T
            if turned > HOPELESS:
                return None
    return None


def _sine(V: Tensor, other: Tensor) -> float:
    """Of the largest angle between the spaces of orthonormal rows."""
    return float(torch.linalg.matrix_norm(V - (V @ other.T) @ other, 2))
