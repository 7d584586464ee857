"""The SVD-steering family in parts that a bug can replace, one class per method. Correct as they stand."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rows import Rows
from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.antipasto_rot import AntiPaSTORot
from variants.svd_family import SVDAdapter

Factors = tuple[Tensor, Tensor, Tensor]


class _InParts(SVDAdapter):
    """y' = W_res x + b + U middle(right x), all factors in at least float32."""

    def initial(self, layer: nn.Module, statistic: Rows | None) -> dict[str, Tensor]:
        of_the_data = {"act_pool": "rms", "cov_orient": False, "selection": "strongest"}
        if any(getattr(self.config, name, plain) != plain for name, plain in of_the_data.items()):
            self.require_rows(statistic)
        return dict(zip(("U", "S", self.right), self.factors(layer.weight.detach(), statistic)))

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        U, S, Vh = torch.linalg.svd(W.float(), full_matrices=False)
        kept = list(range(self.config.r)) if statistic is None else self.chosen(S.double(), Vh.double(), statistic)
        return U[:, kept], S[kept], Vh[kept]

    def chosen(self, S: Tensor, Vh: Tensor, statistic: Rows) -> list[int]:
        scores = self.scores(S, statistic.pooled @ Vh.T)
        return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i))[: self.config.r])

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * z.abs().mean(dim=0)

    def residual(self, W: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(W.dtype, self.U.dtype), torch.float32)
        U, S, V = (t.to(wide) for t in (self.U, self.S, getattr(self, self.right)))
        return (W.to(wide) - (U * S) @ V).to(W.dtype)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)
        h = self.middle(F.linear(x.to(wide), getattr(self, self.right).to(wide)))
        return (y + F.linear(h, self.U.to(wide))).to(y.dtype)

    def middle(self, h: Tensor) -> Tensor:
        raise NotImplementedError


class _Gained(_InParts):
    """A gain per direction, from g."""

    def middle(self, h: Tensor) -> Tensor:
        return h * self.S.to(h.dtype) * self.gain(self.g.to(h.dtype))

    def gain(self, g: Tensor) -> Tensor:
        return self.curve(self.coeff * self.bounded(g))

    def curve(self, z: Tensor) -> Tensor:
        return 1 + F.elu(z)

    def bounded(self, g: Tensor) -> Tensor:
        return g.clamp(max=0) if self.config.suppress_only else g


class AntiPaSTOInParts(_Gained, AntiPaSTO):
    """``antipasto``."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    def scores(self, S: Tensor, z: Tensor) -> Tensor:
        return S * (z.square().mean(dim=0).sqrt() if self.config.act_pool == "rms" else z.abs().mean(dim=0))


class AntiPaSTOArrowInParts(AntiPaSTOInParts, AntiPaSTOArrow):
    """``antipasto_arrow``."""

    def middle(self, h: Tensor) -> Tensor:
        b = self.config.block
        h = h * self.S.to(h.dtype)
        rest = h[..., b:] * self.gain(self.g.to(h.dtype))
        return torch.cat((self.mixed(h[..., :b], self.M.to(h.dtype)), rest), dim=-1)

    def mixed(self, top: Tensor, M: Tensor) -> Tensor:
        return top + self.coeff * top @ M.T


class AntiPaSTOCorDAInParts(_Gained, AntiPaSTOCorDA):
    """``antipasto_corda``."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        assert statistic is not None
        values, E = torch.linalg.eigh(self.covariance(statistic))
        root = self.raised(values.clamp(min=0)).sqrt()
        U, S, V = torch.linalg.svd(W.double() @ (E * root) @ E.T, full_matrices=False)
        r = self.config.r
        return U[:, :r], S[:r], self.unwound(V[:r], (E / root) @ E.T)

    def covariance(self, statistic: Rows) -> Tensor:
        return statistic.pooled.T @ statistic.pooled / statistic.n

    def raised(self, values: Tensor) -> Tensor:
        return values + self.config.cov_eps

    def unwound(self, V: Tensor, inverse_root: Tensor) -> Tensor:
        return V @ inverse_root


class AntiPaSTORotInParts(_InParts, AntiPaSTORot):
    """``antipasto_rot``."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    def middle(self, h: Tensor) -> Tensor:
        # Shared angles are cast once, so that what they get from both sides is added before it is rounded.
        right = self.angles_v.to(h.dtype) if "angles_v" in self.config.rotated else None
        left = self.left_angles().to(h.dtype) if self.config.left == "angles_u" else None
        if right is not None:
            h = self.turned(self.right_turn(self.rotation(right)), h)
        S = self.S.to(h.dtype)
        h = h * (self.shifted(S, self.delta.to(h.dtype)) if self.config.use_delta_s else S)
        if self.config.left:
            h = self.turned(self.left_turn(self.rotation(left if left is not None else right)), h)
        return h

    def chosen(self, S: Tensor, Vh: Tensor, statistic: Rows) -> list[int]:
        if self.config.selection == "strongest":
            return super().chosen(S, Vh, statistic)
        self.require_rows(statistic)
        z, r = statistic.pooled @ Vh.T, self.config.r
        good, bad = z[::2], z[1::2]
        gap = (good - bad).mean(0)
        strength = [S * good.abs().mean(0), S * bad.abs().mean(0), S * gap.clamp(min=0), S * (-gap).clamp(min=0)]
        ranked = [sorted(range(len(S)), key=lambda i, s=s: (-s[i].item(), i)) for s in strength]
        rest = r - 2 * (r // 3)
        kept = {i for order, n in zip(ranked, (r // 3, r // 3, rest - rest // 2, rest // 2)) for i in order[:n]}
        best = torch.stack(strength).max(0).values
        for i in sorted(range(len(S)), key=lambda i: (-best[i].item(), i)):
            if len(kept) < r:
                kept.add(i)
        indices = sorted(kept)
        if self.config.selection == "polarity_interleave":
            indices.sort(key=lambda i: (-gap[i].item(), i))
            indices = [indices[k // 2] if k % 2 == 0 else indices[-(k // 2) - 1] for k in range(r)]
        return indices

    def left_angles(self) -> Tensor:
        left: Tensor = getattr(self, self.config.left)
        return left

    def right_turn(self, R: Tensor) -> Tensor:
        return R

    def left_turn(self, R: Tensor) -> Tensor:
        return R.mT

    def shifted(self, S: Tensor, delta: Tensor) -> Tensor:
        return S + self.coeff * delta

    def turned(self, R: Tensor, h: Tensor) -> Tensor:
        blocks = h.unflatten(-1, (len(R), self.config.block_size))
        return (R @ blocks.unsqueeze(-1)).squeeze(-1).flatten(-2)

    def rotation(self, p: Tensor) -> Tensor:
        X = self.skew(self.sense() * self.entries(p))
        if self.config.rotation == "matrix_exp":
            R: Tensor = torch.linalg.matrix_exp(torch.cat((2 * X, X)))[: len(X)]  # of one matrix it keeps ten digits
            return R
        one = torch.eye(self.config.block_size, dtype=p.dtype)
        R = torch.linalg.solve(one - X, one + X)
        return R

    def sense(self) -> int:
        return 1 if self.config.convention == "lora_lite" else -1

    def entries(self, p: Tensor) -> Tensor:
        t = math.tan(self.config.max_rotation_angle / 2)
        return self.coeff * t * torch.tanh(p / (4 * t))

    def places(self) -> tuple[list[int], list[int]]:
        size = range(self.config.block_size)
        pairs = [(i, j) for i in size for j in size if i < j]
        return [i for i, _ in pairs], [j for _, j in pairs]

    def skew(self, entries: Tensor) -> Tensor:
        i, j = self.places()
        upper = entries.new_zeros(len(entries), self.config.block_size, self.config.block_size)
        upper[:, i, j] = entries
        return upper - upper.mT


class AntiPaSTOAblateInParts(_InParts, AntiPaSTOAblate):
    """``antipasto_ablate``."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows | None:
        return Rows() if config.cov_orient else None

    def factors(self, W: Tensor, statistic: Rows | None) -> Factors:
        if not self.config.cov_orient or statistic is None:
            return super().factors(W, None)
        values, E = torch.linalg.eigh(statistic.pooled.T @ statistic.pooled / statistic.n)
        root = (values.clamp(min=0) + self.config.cov_eps).sqrt()
        U, S, V = torch.linalg.svd(W.double() @ (E * root) @ E.T, full_matrices=False)
        r = self.config.r
        return U[:, :r], S[:r], V[:r] @ (E / root) @ E.T

    def middle(self, h: Tensor) -> Tensor:
        h = h * self.S.to(h.dtype)
        return h - self.coeff * self.removed(h, self.columns(self.c.to(h.dtype)), self.shares(self.alpha.to(h.dtype)))

    def removed(self, h: Tensor, Q: Tensor, alpha: Tensor) -> Tensor:
        return ((h @ Q) * alpha) @ Q.T

    def columns(self, c: Tensor) -> Tensor:
        if self.config.k == 1:
            return c / (c.norm() + 1e-6)
        return torch.linalg.qr(c).Q

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha.clamp(0, 1)
