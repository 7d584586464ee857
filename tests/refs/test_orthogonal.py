"""What the rotations promise for any parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refs.transcriptions.orthogonal import block_rotation, cayley, gram_schmidt, skew_blocks


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def largest_angle(R: Tensor) -> float:
    return torch.linalg.eigvals(R).angle().abs().max().item()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_cayley_rotates_back(size: int) -> None:
    """Else steering by minus alpha would not undo steering by alpha."""
    A = skew_blocks(drawn(3, size * (size - 1) // 2), size)
    identity = torch.eye(size, dtype=torch.float64).expand(3, -1, -1)
    torch.testing.assert_close(cayley(A) @ cayley(A).mT, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(cayley(-A), cayley(A).mT, rtol=0, atol=1e-14)


def test_upper_triangle_is_read_by_rows() -> None:
    """Else a block of four or more would turn in other planes than the authors' does."""
    (A,) = skew_blocks(torch.arange(1.0, 7.0)[None], 4)
    assert A[0].tolist() == [0, 1, 2, 3]
    assert A[1].tolist() == [-1, 0, 4, 5]
    assert A[2].tolist() == [-2, -4, 0, 6]


def test_clamp_bounds_entries_not_angles() -> None:
    """Else the stated bound of the angle is of another clamp than the authors'."""
    saturated = 1e6 * torch.ones(1, 6, dtype=torch.float64)
    assert largest_angle(block_rotation(saturated[:, :1], 2, 0.5)) == pytest.approx(0.5, abs=1e-12)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 6)
    angles = [largest_angle(block_rotation(1e6 * s[None].double(), 4, 0.5)) for s in signs]
    assert max(angles) == pytest.approx(1.104, abs=1e-2)
    assert max(angles) < math.pi / 2


def test_gram_schmidt_keeps_the_flag() -> None:
    """Else the order of the vectors would not matter, and it does to the authors' gradients."""
    columns = drawn(7, 3)
    Q = gram_schmidt(columns)
    torch.testing.assert_close(Q.T @ Q, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-14)
    triangular = Q.T @ columns
    torch.testing.assert_close(triangular, triangular.triu(), rtol=0, atol=1e-13)
    assert (triangular.diagonal() > 0).all()
