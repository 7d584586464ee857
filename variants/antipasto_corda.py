"""Bounded gain on a basis oriented by the inputs (AntiPaSTO, arXiv 2601.07473, with CorDA's basis, arXiv 2406.05223).

    W C^(1/2) = U diag(S) V,  P = V C^(-1/2)           C = E[x x^T] + cov_eps I over calibration rows, not centred
    W  = U diag(S) P + W_res                           U: (d_out, r), S: (r,), P: (r, d_in), frozen
    W' = W_res + U diag(S * (1 + ELU(coeff g))) P      g: (r,)
    b' = b

``suppress_only`` takes min(g, 0) for g, as in ``antipasto``. Calibration is required; masked-out tokens do not count.

Identity at t=0 up to the rounding of W_res: g = 0 exactly, live.
Reference: lora-lite ``variants/antipasto_corda.py``. peft's CorDA decomposes W C and multiplies by C^-1, which gives
another basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.calibrate import Moments, Statistic
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.spec import TensorSpec
from variants.svd_family import Factors, SVDAdapter, SVDConfig, gain, oriented


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOCorDAConfig(SVDConfig):
    """Configuration of AntiPaSTO on an oriented basis."""

    suppress_only: bool = option(
        False,
        "whether a gain can only lower a singular value (at a positive coeff)",
        range="True or False",
        symbol="min(g, 0) for g",
        paper="suppress_only, in lora-lite",
        change="True to remove behaviour without amplifying any direction",
    )
    cov_eps: float = option(
        1e-3,
        "what is added to every eigenvalue of E[x x^T]",
        range="a positive number",
        symbol="cov_eps, in C",
        paper="cov_eps, in lora-lite",
        change="raise it if the calibration inputs vary in few directions",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_flag("suppress_only", self.suppress_only)
        self.require_finite("cov_eps", self.cov_eps)
        self.require(self.cov_eps > 0, "cov_eps", self.cov_eps, "a positive number")


class AntiPaSTOCorDA(SVDAdapter):
    """See the module's docstring."""

    name = "antipasto_corda"
    right = "P"
    Config = AntiPaSTOCorDAConfig
    config: AntiPaSTOCorDAConfig
    g: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTOCorDAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "g": TensorSpec((config.r,))}

    @classmethod
    def statistic(cls, config: AntiPaSTOCorDAConfig, layer: nn.Module) -> Statistic:
        return Moments(sizes_of(layer)[0])

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        self.require_rows(statistic)
        return oriented(W, statistic, self.config.cov_eps, self.config.r)

    def core(self, h: Tensor) -> Tensor:
        return h * (self.S.to(h.dtype) * gain(self.g.to(h.dtype), self.coeff, self.config.suppress_only))
