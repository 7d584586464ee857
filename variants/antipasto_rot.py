"""Shift of singular values with bounded rotations of the singular basis (AntiPaSTO, arXiv 2601.07473).

    W  = U diag(S) Vh + W_res                                  U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    W' = W_res + U R_u^T diag(S + coeff delta) R_v Vh          delta: (r,)
    b' = b
    R  = blockdiag((I - X)^-1 (I + X)),  X skew, (block_size, block_size)
    X_ij = coeff t tanh(p_ij / (4 t)),  i < j,  t = tan(max_rotation_angle / 2)

Computed from the right: R_v rotates the r coordinates Vh x, never Vh itself. In blocks of 2, X = [[0, x], [-x, 0]] and
``R = [[1 - x^2, 2 x], [-2 x, 1 - x^2]] / (1 + x^2)``.

``rotate_basis`` V has R_v only, U has R_u only, both has both with parameters of their own, none has neither.
``angles_v`` and ``angles_u``: (r / block_size, block_size (block_size - 1) / 2) hold p, the upper triangle row by row.
R(-coeff) is the inverse of R(coeff); coeff = 0 is the base model. The bound holds for each entry of X: in blocks of 2
no angle exceeds max_rotation_angle, in blocks of 4 one can (1.10 rad for 0.5).
With calibration inputs the r directions are those of the largest ``S_i mean|x Vh_i^T|``, see ``svd_family``; by
``selection`` those that distinguish chosen from rejected answers, see ``answers``.

Options of the originals: ``rotate_basis`` shared rotates both bases by the same ``angles_v`` (R_u = R_v);
``rotation`` matrix_exp takes R = exp(2 X); ``use_delta_s`` False keeps S, and there is no delta.

At t=0 all are live. ``convention`` selects the initial values and the sign of p:

    lora_lite        R(p)     p = 0                         delta = 4e-4 + N(0, (4e-4)^2)
    antipasto3       R(-p)    p = 1e-4 t                    delta = 4e-4 (1 + t),  t ~ N(0, 1) cut at two sigma
    antipasto_torch  R(-p)    p = N(0, (0.012 sqrt(2))^2)   delta = 4e-4 + N(0, (4e-4)^2)

So at t=0 W' is close to W, not equal: |W' - W| is about 3e-4 |W| at r = 8 with the first.
Reference: lora-lite ``variants/antipasto_rot.py`` (coeff = 1). The Flax original antipasto3 and the first torch layer
have the coefficient (alpha); antipasto3 has one R for both sides, and calls the input side U; the torch layer rotates
all r directions in one block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from variants.answers import Answers
from variants.options import documented, option
from variants.runtime.calibrate import Statistic
from variants.runtime.spec import Initial, TensorSpec
from variants.svd_family import Factors, MeanAbs, SVDAdapter, SVDConfig

ROTATED: dict[str, tuple[str, ...]] = {
    "V": ("angles_v",),
    "U": ("angles_u",),
    "both": ("angles_v", "angles_u"),
    "shared": ("angles_v",),
    "none": (),
}


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTORotConfig(SVDConfig):
    """Configuration of AntiPaSTO with rotations."""

    rotate_basis: str = option(
        "V",
        "which singular basis rotates: input side (V), output side (U), both, both by the same angles (shared) or none",
        range="V, U, both, shared, none",
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
    rotation: str = option(
        "cayley",
        "how a skew block becomes a rotation",
        range="cayley, matrix_exp",
        symbol="R",
        paper="rotation_method, in the authors' first torch layer",
        change="matrix_exp turns by the entries of 2 X themselves; it costs more",
    )
    use_delta_s: bool = option(
        True,
        "whether the singular values are shifted",
        range="True or False",
        symbol="delta",
        paper="use_delta_s, in antipasto3",
        change="False to train rotations alone",
    )
    convention: str = option(
        "lora_lite",
        "whose initial values, and whose sign of the angles",
        range="lora_lite, antipasto3, antipasto_torch",
        symbol="p, delta at t=0",
        paper="the code of that name",
        change="take an original's to continue its training, or for its initial values",
    )
    selection: str = option(
        "strongest",
        "how calibration inputs choose the r directions",
        range="strongest, score_l1_trip, polarity_interleave",
        symbol="U, S, Vh",
        paper="dimension selection, in antipasto3",
        change="take one of the last two, which need calibration, if its rows are pairs of chosen and rejected answers",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("rotate_basis", self.rotate_basis, tuple(ROTATED))
        self.require_choice("rotation", self.rotation, ("cayley", "matrix_exp"))
        self.require_flag("use_delta_s", self.use_delta_s)
        self.require_choice("convention", self.convention, tuple(STARTS))
        self.require_choice("selection", self.selection, ("strongest", "score_l1_trip", "polarity_interleave"))
        even = self.selection != "polarity_interleave" or self.r % 2 == 0
        self.require(even, "r", self.r, "an even number (polarity_interleave lays directions out in pairs)")
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
        return ROTATED[self.rotate_basis]

    @property
    def left(self) -> str:
        """The name of the angles that turn U; empty for none."""
        return {"U": "angles_u", "both": "angles_u", "shared": "angles_v"}.get(self.rotate_basis, "")


def _near_4e_4(shape: torch.Size, layer: nn.Module) -> Tensor:
    return 4e-4 + 4e-4 * torch.randn(shape)


def _cut_near_4e_4(shape: torch.Size, layer: nn.Module) -> Tensor:
    return 4e-4 + 4e-4 * _within_two_sigma(shape)


def _tiny(shape: torch.Size, layer: nn.Module) -> Tensor:
    return 1e-4 * _within_two_sigma(shape)


def _small(shape: torch.Size, layer: nn.Module) -> Tensor:
    return 0.012 * 2**0.5 * torch.randn(shape)


def _within_two_sigma(shape: torch.Size) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), a=-2.0, b=2.0)


STARTS: dict[str, tuple[Initial, Initial]] = {
    "lora_lite": ("zeros", _near_4e_4),
    "antipasto3": (_tiny, _cut_near_4e_4),
    "antipasto_torch": (_small, _near_4e_4),
}
"""Of the angles and of delta."""


class AntiPaSTORot(SVDAdapter):
    """See the module's docstring."""

    name = "antipasto_rot"
    Config = AntiPaSTORotConfig
    config: AntiPaSTORotConfig
    delta: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTORotConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        size = config.block_size
        angles_start, delta_start = STARTS[config.convention]
        angles = TensorSpec((config.r // size, size * (size - 1) // 2), angles_start)
        return {
            **super().specs(config, d_in, d_out),
            **({"delta": TensorSpec((config.r,), delta_start)} if config.use_delta_s else {}),
            **dict.fromkeys(config.rotated, angles),
        }

    @classmethod
    def statistic(cls, config: AntiPaSTORotConfig, layer: nn.Module) -> Statistic:
        return MeanAbs(layer) if config.selection == "strongest" else Answers(layer)

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        if self.config.selection == "strongest":
            return super().factors(W, statistic)
        self.require_rows(statistic)  # asked for: without pairs of answers it would silently do nothing
        kept = statistic.selected(self.config.r, self.config.selection == "polarity_interleave")
        U, S, Vh = statistic.svd
        return U[:, kept], S[kept], Vh[kept]

    def core(self, h: Tensor) -> Tensor:
        # Once for each set of angles: what shared ones get from both sides is added before it is rounded.
        R = {angles: self.rotation(angles, h.dtype) for angles in self.config.rotated}
        if "angles_v" in R:
            h = _turn(R["angles_v"], h)
        S = self.S.to(h.dtype)
        h = h * (S + self.coeff * self.delta.to(h.dtype) if self.config.use_delta_s else S)
        if left := self.config.left:
            h = _turn(R[left].mT, h)
        return h

    def rotation(self, angles: str, dtype: torch.dtype) -> Tensor:
        """The blocks of R, ``(r / block_size, block_size, block_size)``."""
        p = getattr(self, angles).to(dtype)
        size, t = self.config.block_size, math.tan(self.config.max_rotation_angle / 2)
        sign = 1 if self.config.convention == "lora_lite" else -1
        x = sign * self.coeff * t * torch.tanh(p / (4 * t))
        if size == 2:  # multiplied out, with X = [[0, x], [-x, 0]]
            if self.config.rotation == "matrix_exp":
                same, cross = torch.cos(2 * x), torch.sin(2 * x)
            else:
                same, cross = (1 - x * x) / (1 + x * x), 2 * x / (1 + x * x)
            return torch.stack((same, cross, -cross, same), dim=-1).view(-1, 2, 2)
        i, j = torch.triu_indices(size, size, offset=1, device=p.device)
        upper = p.new_zeros(len(p), size, size)
        upper[:, i, j] = x
        X = upper - upper.mT
        if self.config.rotation == "matrix_exp":
            # Of one small matrix torch 2.13 keeps ten digits, of two all.
            R: Tensor = torch.linalg.matrix_exp(torch.cat((2 * X, -2 * X)))[: len(X)]
            return R
        identity = torch.eye(size, dtype=dtype, device=p.device)
        R = torch.linalg.solve(identity - X, identity + X)
        return R


def _turn(R: Tensor, h: Tensor) -> Tensor:
    """Every block of the coordinates ``h: (..., r)`` times its block of R: one product for every block."""
    blocks = h.reshape(-1, *R.shape[:2]).transpose(0, 1)
    return torch.bmm(blocks, R.mT).transpose(0, 1).reshape(h.shape)
