"""Shift of singular values with bounded rotations of the singular basis (AntiPaSTO, arXiv 2601.07473).

    W  = U diag(S) Vh + W_res                                  U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    W' = W_res + U R_u^T diag(S + coeff delta) R_v Vh          delta: (r,)
    b' = b
    R  = blockdiag((I - X)^-1 (I + X)),  X skew, (block_size, block_size)
    X_ij = coeff t tanh(p_ij / (4 t)),  i < j,  t = tan(max_rotation_angle / 2)

Computed from the right: R_v turns the r coordinates Vh x, never Vh itself. In blocks of 2, X = [[0, x], [-x, 0]] and
``R = [[1 - x^2, 2 x], [-2 x, 1 - x^2]] / (1 + x^2)``.

``rotate_basis`` V has R_v only, U has R_u only, both has both with parameters of their own, none has neither.
``angles_v`` and ``angles_u``: (r / block_size, block_size (block_size - 1) / 2) hold p, the upper triangle row by row.
R(-coeff) is the inverse of R(coeff); coeff = 0 is the base model. The bound holds for each entry of X: in blocks of 2
no angle exceeds max_rotation_angle, in blocks of 4 one can (1.10 rad for 0.5).
With calibration inputs the r directions are those of the largest ``S_i mean|x Vh_i^T|``, see ``svd_family``.

At t=0 the angles are 0 and live; delta is 4e-4 + N(0, 4e-4) and live, so the start is near the identity and not at it:
|W' - W| is about 3e-4 |W| at r = 8.
Reference: lora-lite ``variants/antipasto_rot.py`` (coeff = 1). The Flax original has the coefficient (alpha), the
opposite sign of p, one R for both sides, and calls the input side U.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.calibrate import Statistic
from variants.runtime.spec import TensorSpec
from variants.svd_family import MeanAbs, SVDAdapter, SVDConfig


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTORotConfig(SVDConfig):
    """Configuration of AntiPaSTO with rotations."""

    rotate_basis: str = option(
        "V",
        "which singular basis rotates: input side (V), output side (U), both or none",
        range="V, U, both, none",
        symbol="R_v, R_u",
        paper="rotate_basis, in lora-lite",
        change="both adds a second set of angles; none trains the shift of singular values alone",
    )
    block_size: int = option(
        4,
        "size of the blocks that rotate",
        range="an integer of at least 2 that divides r",
        symbol="block_size",
        paper="block_size, in lora-lite",
        change="larger blocks mix more directions and train more angles",
    )
    max_rotation_angle: float = option(
        0.5,
        "bound on each entry of X, as the angle of a block of 2, in radians",
        range="an angle between 0 and pi",
        symbol="max_rotation_angle, in t",
        paper="max_rotation_angle, in lora-lite",
        change="lower it to stay nearer the base model",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("rotate_basis", self.rotate_basis, ("V", "U", "both", "none"))
        size = self.block_size
        self.require(type(size) is int and size >= 2, "block_size", size, "an integer of at least 2")
        if self.rotate_basis != "none":
            self.require(self.r % size == 0, "r", self.r, f"a multiple of block_size={size}")
        self.require_finite("max_rotation_angle", self.max_rotation_angle)
        bounded = 0 < self.max_rotation_angle < math.pi
        self.require(bounded, "max_rotation_angle", self.max_rotation_angle, "an angle between 0 and pi")

    @property
    def rotated(self) -> tuple[str, ...]:
        """The names of the angles there are."""
        return {"V": ("angles_v",), "U": ("angles_u",), "both": ("angles_v", "angles_u"), "none": ()}[self.rotate_basis]


def _near_4e_4(shape: torch.Size, layer: nn.Module) -> Tensor:
    return 4e-4 + 4e-4 * torch.randn(shape)


class AntiPaSTORot(SVDAdapter):
    """See the module's docstring."""

    name = "antipasto_rot"
    Config = AntiPaSTORotConfig
    config: AntiPaSTORotConfig
    delta: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTORotConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        size = config.block_size
        angles = TensorSpec((config.r // size, size * (size - 1) // 2))
        return {
            **super().specs(config, d_in, d_out),
            "delta": TensorSpec((config.r,), _near_4e_4),
            **dict.fromkeys(config.rotated, angles),
        }

    @classmethod
    def statistic(cls, config: AntiPaSTORotConfig, layer: nn.Module) -> Statistic:
        return MeanAbs(layer)

    def core(self, h: Tensor) -> Tensor:
        if "angles_v" in self.config.rotated:
            h = _turn(self.rotation("angles_v", h.dtype), h)
        h = h * (self.S.to(h.dtype) + self.coeff * self.delta.to(h.dtype))
        if "angles_u" in self.config.rotated:
            h = _turn(self.rotation("angles_u", h.dtype).mT, h)
        return h

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        """The blocks of R, ``(r / block_size, block_size, block_size)``."""
        p = getattr(self, angles).to(dtype)
        size, t = self.config.block_size, math.tan(self.config.max_rotation_angle / 2)
        x = self.coeff * t * torch.tanh(p / (4 * t))
        if size == 2:  # multiplied out, with X = [[0, x], [-x, 0]]
            same, cross = (1 - x * x) / (1 + x * x), 2 * x / (1 + x * x)
            return torch.stack((same, cross, -cross, same), dim=-1).view(-1, 2, 2)
        i, j = torch.triu_indices(size, size, offset=1, device=p.device)
        upper = p.new_zeros(len(p), size, size)
        upper[:, i, j] = x
        X = upper - upper.mT
        identity = torch.eye(size, dtype=dtype, device=p.device)
        R: Tensor = torch.linalg.solve(identity - X, identity + X)
        return R


def _turn(R: Tensor, h: Tensor) -> Tensor:
    """Every block of the coordinates ``h: (..., r)`` times its block of R: one product for every block."""
    blocks = h.reshape(-1, *R.shape[:2]).transpose(0, 1)
    return torch.bmm(blocks, R.mT).transpose(0, 1).reshape(h.shape)
