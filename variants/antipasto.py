"""Bounded gain on singular values (AntiPaSTO, arXiv 2601.07473, as in the authors' lora-lite).

    W  = U diag(S) Vh + W_res                          U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    W' = W_res + U diag(S * (1 + ELU(coeff g))) Vh     g: (r,)
    b' = b

The gain is positive: a direction can be silenced, never flipped. ``suppress_only`` takes min(g, 0) for g, before the
product with coeff (a negative coeff then amplifies); there, a positive g gets no gradient, a g of exactly 0 does.
With calibration inputs the r directions are those of the largest ``S_i pool(x Vh_i^T)``, see ``svd_family``.

Identity at t=0 up to the rounding of W_res: g = 0 exactly, live.
Reference: lora-lite ``variants/antipasto.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.calibrate import Moments, Statistic
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.spec import TensorSpec
from variants.svd_family import Factors, MeanAbs, SVDAdapter, SVDConfig, gain


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOConfig(SVDConfig):
    """Configuration of AntiPaSTO."""

    act_pool: str = option(
        "rms",
        "how calibration inputs are pooled along a direction",
        range="rms, mean_abs",
        symbol="pool",
        paper="act_pool, in lora-lite",
        change="mean_abs gives outliers less weight; without calibration it has no effect",
    )
    suppress_only: bool = option(
        False,
        "whether a gain can only lower a singular value (at a positive coeff)",
        range="True or False",
        symbol="min(g, 0) for g",
        paper="suppress_only, in lora-lite",
        change="True to remove behaviour without amplifying any direction",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("act_pool", self.act_pool, ("rms", "mean_abs"))
        self.require_flag("suppress_only", self.suppress_only)


class AntiPaSTO(SVDAdapter):
    """See the module's docstring."""

    name = "antipasto"
    Config = AntiPaSTOConfig
    config: AntiPaSTOConfig
    g: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTOConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "g": TensorSpec((config.r,))}

    @classmethod
    def statistic(cls, config: AntiPaSTOConfig, layer: nn.Module) -> Statistic:
        return MeanAbs(layer) if config.act_pool == "mean_abs" else Moments(sizes_of(layer)[0])

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        if self.config.act_pool != "rms":  # asked for: without data it would silently do nothing
            self.require_rows(statistic)
        return super().factors(W, statistic)

    def core(self, h: Tensor) -> Tensor:
        return h * (self.S.to(h.dtype) * gain(self.g.to(h.dtype), self.coeff, self.config.suppress_only))
