"""AntiPaSTO's rotations, ablation and dense block, correctly, in other words."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from proof.seeded.rewrites.svd_wrapper import OneWeight, SVDWrapper, by_cases
from refs.calibration import pooled
from refs.settings import Settings
from refs.subject import AS_IS, TRANSPOSED
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_rot import AntiPaSTORot


class _Rotated(OneWeight, AntiPaSTORot):
    """``rotation`` gives the whole R: ``(r, r)``."""

    def matrix(self, wide: torch.dtype) -> Tensor:
        S = self.S.to(wide)
        core = torch.diag(S + self.coeff * self.delta.to(wide) if self.config.use_delta_s else S)
        whole = self.exponential if self.config.rotation == "matrix_exp" else self.whole
        # Cast once: what shared angles get from both sides is added before it is rounded.
        angles = {name: getattr(self, name).to(wide) for name in {*self.config.rotated, self.config.left} if name}
        if "angles_v" in self.config.rotated:
            core = core @ whole(angles["angles_v"])
        if self.config.left:
            core = whole(angles[self.config.left]).T @ core
        return core

    def exponential(self, p: Tensor) -> Tensor:
        """exp of the whole skew matrix at once; of two, since torch 2.13 keeps ten digits of a single one."""
        whole = torch.block_diag(*self.skew(p))
        R: Tensor = torch.linalg.matrix_exp(torch.stack((2 * whole, whole)))[0]
        return R

    def whole(self, p: Tensor) -> Tensor:
        raise NotImplementedError

    def skew(self, p: Tensor) -> list[Tensor]:
        """X of every block."""
        size, t = self.config.block_size, math.tan(self.config.max_rotation_angle / 2)
        blocks = []
        sense = 1.0 if self.config.convention == "lora_lite" else -1.0
        for row in sense * self.coeff * t * torch.tanh(p / (4 * t)):
            numbers = iter(row)
            X = [[row.new_zeros(()) for _ in range(size)] for _ in range(size)]
            for i in range(size):
                for j in range(i + 1, size):
                    X[i][j] = next(numbers)
                    X[j][i] = -X[i][j]
            blocks.append(torch.stack([torch.stack(line) for line in X]))
        return blocks


class AntiPaSTORotByInverse(_Rotated):
    """Every block as (I + X)(I - X)^-1, by an explicit inverse; both factors commute."""

    def whole(self, p: Tensor) -> Tensor:
        one = torch.eye(self.config.block_size, dtype=p.dtype)
        return torch.block_diag(*((one + X) @ torch.linalg.inv(one - X) for X in self.skew(p)))


class AntiPaSTORotByOneSolve(_Rotated):
    """One system with all blocks in it, and R = 2 (I - X)^-1 - I."""

    def whole(self, p: Tensor) -> Tensor:
        X = torch.block_diag(*self.skew(p))
        one = torch.eye(len(X), dtype=p.dtype)
        return 2 * torch.linalg.solve(one - X, one) - one


class AntiPaSTORotByAngles(_Rotated):
    """Blocks of 2 in closed form, by the angle 2 atan(a); of larger ones R^T, from -X, is turned over."""

    def whole(self, p: Tensor) -> Tensor:
        blocks = []
        for X in self.skew(p):
            if len(X) == 2:
                angle = 2 * X[0, 1].atan()
                cosine, sine = angle.cos(), angle.sin()
                blocks.append(torch.stack([torch.stack([cosine, sine]), torch.stack([-sine, cosine])]))
            else:
                one = torch.eye(len(X), dtype=p.dtype)
                blocks.append(torch.linalg.solve(one + X, one - X).T)
        return torch.block_diag(*blocks)


class AntiPaSTOAblateByProjector(OneWeight, AntiPaSTOAblate):
    """The projector Q diag(alpha) Q^T is formed as a sum over directions found by Gram-Schmidt."""

    def matrix(self, wide: torch.dtype) -> Tensor:
        found: list[Tensor] = []
        for column in self.c.to(wide).unbind(1):
            for q in found:
                column = column - (q @ column) * q
            found.append(column / (column.norm() + (1e-6 if self.config.k == 1 else 0)))
        shares = self.alpha.to(wide).clamp(0, 1)
        P = sum(a * torch.outer(q, q) for a, q in zip(shares, found))
        return (torch.eye(len(self.S), dtype=wide) - self.coeff * P) * self.S.to(wide)


class AntiPaSTOAblateOneAfterTheOther(OneWeight, AntiPaSTOAblate):
    """Orthogonal directions are removed one after the other: the product of I - coeff alpha_i q_i q_i^T."""

    def matrix(self, wide: torch.dtype) -> Tensor:
        c = self.c.to(wide)
        Q = c / (c.norm() + 1e-6) if self.config.k == 1 else c @ torch.linalg.inv(torch.linalg.cholesky(c.T @ c)).T
        core = torch.diag(self.S.to(wide))
        for q, alpha in zip(Q.T, self.alpha.to(wide).clamp(0, 1)):
            core = core - self.coeff * alpha * torch.outer(q, q @ core)
        return core


class AntiPaSTOAblateFromNumPy(SVDWrapper):
    """A plain module that stores c transposed and orients its basis by a Cholesky factor of C."""

    names: ClassVar = {**SVDWrapper.names, "c": ("away", TRANSPOSED), "alpha": ("share", AS_IS)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        r, k = settings.r, settings.option("k", 1)
        share = torch.full((k,), settings.option("init_alpha", 0.05), dtype=torch.float64)
        started = {"away": torch.randn(k, r) / r**0.5, "share": share}
        if not settings.option("cov_orient", False):
            return {**super().start(W, settings), **started}
        rows = pooled(settings.option("calibration", ""), W.shape[1], W.dtype).double()
        L = torch.linalg.cholesky(rows.T @ rows / len(rows) + settings.option("cov_eps", 1e-3) * torch.eye(W.shape[1]))
        U, S, V = torch.linalg.svd(W.double() @ L, full_matrices=False)
        return {"left": U[:, :r].T, "values": S[:r], "right": torch.linalg.solve(L.T, V[:r].T), **started}

    def core(self, wide: torch.dtype) -> Tensor:
        c = self.away.T.to(wide)
        Q = c / (c.norm() + 1e-6) if len(self.away) == 1 else torch.linalg.qr(c).Q
        kept = torch.eye(len(c), dtype=wide) - self.option("coeff", 1.0) * (Q * self.share.to(wide).clamp(0, 1)) @ Q.T
        return kept * self.values.to(wide)


class AntiPaSTOArrowAsOneCore(OneWeight, AntiPaSTOArrow):
    """One dense core K diag(S)."""

    def matrix(self, wide: torch.dtype) -> Tensor:
        gain = by_cases(self.g.to(wide), self.coeff, self.config.suppress_only)
        block = torch.eye(self.config.block, dtype=wide) + self.coeff * self.M.to(wide)
        return torch.block_diag(block, torch.diag(gain)) * self.S.to(wide)


class AntiPaSTOArrowByOuterProducts(OneWeight, AntiPaSTOArrow):
    """diag(S), plus S_j coeff M[i, j] from direction j to direction i, plus what the gain adds on the rest."""

    def matrix(self, wide: torch.dtype) -> Tensor:
        b, S = self.config.block, self.S.to(wide)
        change = self.coeff * torch.nn.functional.pad(self.M.to(wide), (0, len(S) - b, 0, len(S) - b))
        more = by_cases(self.g.to(wide), self.coeff, self.config.suppress_only) - 1
        return torch.diag(S) + change @ torch.diag(S) + torch.diag(torch.nn.functional.pad(more, (b, 0)) * S)


class AntiPaSTOArrowFromNumPy(SVDWrapper):
    """A plain module that stores M transposed."""

    names: ClassVar = {**SVDWrapper.names, "M": ("block", TRANSPOSED), "g": ("gain", AS_IS)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        b = settings.option("block", 8)
        return {**super().start(W, settings), "block": torch.zeros(b, b), "gain": torch.zeros(settings.r - b)}

    def core(self, wide: torch.dtype) -> Tensor:
        coeff = self.option("coeff", 1.0)
        gain = by_cases(self.gain.to(wide), coeff, self.option("suppress_only", False))
        block = torch.eye(len(self.block), dtype=wide) + coeff * self.block.T.to(wide)
        return torch.block_diag(block, torch.diag(gain)) * self.values.to(wide)
