"""Orthogonal matrices that are built from free parameters: Gram-Schmidt, reflections, Cayley rotations.

    Gram-Schmidt   q_i = w_i / |w_i|,  w_i = m_i - sum_{j<i} (q_j . w_i) q_j      (each subtraction from the remainder)
    clamp          A  <-  L tanh(A / L) in every entry,  L = 2 tan(max_angle / 2)
    Cayley         R(A) = (I - A/2)^-1 (I + A/2),  A = -A^T;   R(-A) = R(A)^T

The clamp bounds the angle of a 2 x 2 block by max_angle; a larger block can turn further: only entries are bounded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gram_schmidt(columns: Tensor) -> Tensor:
    """Orthonormal columns spanning the same flag as ``columns: (d, r)``. NaN where they are linearly dependent."""
    Q: list[Tensor] = []
    for column in columns.unbind(dim=1):
        for q in Q:
            column = column - (q @ column) * q
        Q.append(column / column.norm())
    return torch.stack(Q, dim=1)


def skew_blocks(theta: Tensor, size: int) -> Tensor:
    """Skew blocks (n, size, size) from their upper triangles ``theta: (n, size (size-1)/2)``, row by row."""
    rows, cols = torch.triu_indices(size, size, offset=1)
    upper = theta.new_zeros(theta.shape[0], size, size)
    upper[:, rows, cols] = theta
    return upper - upper.mT


def clamped(A: Tensor, max_angle: float) -> Tensor:
    """``A`` with every entry kept within 2 tan(max_angle / 2)."""
    limit = 2 * math.tan(max_angle / 2)
    return limit * torch.tanh(A / limit)


def cayley(A: Tensor) -> Tensor:
    """The rotation of a skew matrix, or of a batch of them."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    R: Tensor = torch.linalg.solve(identity - A / 2, identity + A / 2)
    return R


def block_rotation(theta: Tensor, size: int, max_angle: float, alpha: float = 1.0) -> Tensor:
    """R: (r, r), block-diagonal, each block the Cayley rotation of alpha times the clamped skew block of theta / 2."""
    A = clamped(skew_blocks(theta / 2, size), max_angle)
    return block_diagonal(*cayley(alpha * A))


def block_diagonal(*blocks: Tensor) -> Tensor:
    """The blocks along the diagonal, zeros elsewhere."""
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined
