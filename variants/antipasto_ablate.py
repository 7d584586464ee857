"""Partial removal of learned directions from the output (AntiPaSTO ablate, arXiv 2601.07473, as in lora-lite).

    W  = U diag(S) Vh + W_res                                           U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    W' = W_res + U (I - coeff Q diag(clip(alpha, 0, 1)) Q^T) diag(S) Vh        c: (r, k), alpha: (k,)
    b' = b

Q holds orthonormal columns that span those of c: c / (|c| + 1e-6) for k = 1, else its QR decomposition's Q. For
coeff in [0, 1] the eigenvalues of the core stay in [0, 1]: it removes, and never flips or amplifies. alpha outside
[0, 1] gets no gradient; at exactly 0 and 1 it does. ``cov_orient`` uses the basis P oriented by calibration inputs
(``svd_family``) instead of Vh.

Not the identity at t=0: alpha = ``init_alpha`` = 0.05 and c ~ N(0, 1/r), both live, so |W' - W| is about 1.6 % of |W|
at r = 8. With ``init_alpha`` = 0 it would be the identity, and c dead.
Reference: lora-lite ``variants/antipasto_ablate.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.calibrate import Moments, Statistic
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.numerics.products import plus_product
from variants.runtime.spec import TensorSpec
from variants.svd_family import Factors, SVDAdapter, SVDConfig, oriented


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOAblateConfig(SVDConfig):
    """Configuration of AntiPaSTO ablate."""

    k: int = option(
        1,
        "number of directions to remove",
        range="an integer of 1 to r",
        symbol="k",
        paper="k, in lora-lite",
        change="raise it if one direction does not hold the behaviour",
    )
    init_alpha: float = option(
        0.05,
        "share of the directions that is removed at t=0",
        range="a number in [0, 1]",
        symbol="alpha at t=0",
        paper="init_alpha, in lora-lite",
        change="0 gives the identity at t=0, but then c gets no gradient",
    )
    cov_orient: bool = option(
        False,
        "whether calibration inputs orient the basis",
        range="True or False",
        symbol="P in the place of Vh",
        paper="cov_orient, in lora-lite",
        change="True if directions that move the output most should lead; needs calibration",
    )
    cov_eps: float = option(
        1e-3,
        "what is added to every eigenvalue of E[x x^T]",
        range="a positive number",
        symbol="eps, in C of svd_family",
        paper="cov_eps, in lora-lite",
        change="raise it if the calibration inputs vary in few directions",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = type(self.k) is int and 1 <= self.k <= self.r
        self.require(fits, "k", self.k, f"an integer of 1 to r={self.r}")
        self.require_finite("init_alpha", self.init_alpha)
        self.require(0 <= self.init_alpha <= 1, "init_alpha", self.init_alpha, "a number in [0, 1]")
        self.require_flag("cov_orient", self.cov_orient)
        self.require_finite("cov_eps", self.cov_eps)
        self.require(self.cov_eps > 0, "cov_eps", self.cov_eps, "a positive number")


def _normal_over_root_r(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.randn(shape) / math.sqrt(shape[0])


class AntiPaSTOAblate(SVDAdapter):
    """See the module's docstring."""

    name = "antipasto_ablate"
    Config = AntiPaSTOAblateConfig
    config: AntiPaSTOAblateConfig
    c: Tensor
    alpha: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTOAblateConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {
            **super().specs(config, d_in, d_out),
            "c": TensorSpec((config.r, config.k), _normal_over_root_r),
            "alpha": TensorSpec(
                (config.k,), lambda shape, layer: torch.full(shape, config.init_alpha, dtype=torch.double)
            ),
        }

    @classmethod
    def statistic(cls, config: AntiPaSTOAblateConfig, layer: nn.Module) -> Statistic | None:
        return Moments(sizes_of(layer)[0]) if config.cov_orient else None

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        if not self.config.cov_orient:
            return super().factors(W, None)
        self.require_rows(statistic)
        return oriented(W, statistic, self.config.cov_eps, self.config.r)

    def core(self, h: Tensor) -> Tensor:
        h = h * self.S.to(h.dtype)
        Q, alpha = self.directions(h.dtype), self.alpha.to(h.dtype).clamp(0, 1)
        return plus_product(h, h @ Q, (Q * alpha).T, -self.coeff)

    def directions(self, dtype: torch.dtype) -> Tensor:
        """The orthonormal columns that are removed: ``(r, k)``."""
        c = self.c.to(dtype)
        if self.config.k == 1:
            Q: Tensor = c / (torch.linalg.vector_norm(c) + 1e-6)
        else:
            Q = torch.linalg.qr(c).Q
        return Q
