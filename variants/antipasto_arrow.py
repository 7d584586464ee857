"""A dense block on the top singular directions and a gain on the rest (AntiPaSTO arrow, arXiv 2601.07473, lora-lite).

    W  = U diag(S) Vh + W_res                          U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    W' = W_res + U K diag(S) Vh                        K: (r, r), block diagonal
    b' = b
    K[:b, :b] = I + coeff M,  K[b:, b:] = diag(1 + ELU(coeff g))       M: (b, b), g: (r - b,), b = block

M[i, j] takes the input along direction j, scaled by S_j, to the output along direction i. b^2 + r - b parameters.
``suppress_only`` bounds g as in ``antipasto`` and leaves M free. Calibration chooses the directions as there; the block
is on the first of the chosen ones.

Identity at t=0 up to the rounding of W_res: M = 0 and g = 0 exactly, both live.
Reference: lora-lite ``variants/antipasto_arrow.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from variants.antipasto import AntiPaSTO, AntiPaSTOConfig
from variants.options import documented, option
from variants.runtime.spec import TensorSpec
from variants.svd_family import gain


@documented
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOArrowConfig(AntiPaSTOConfig):
    """Configuration of AntiPaSTO arrow."""

    block: int = option(
        8,
        "number of leading directions that are mixed by a dense matrix",
        range="an integer of at least 1 and less than r",
        symbol="b = block",
        paper="block, in lora-lite",
        change="raise it to mix more directions; b^2 parameters train",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = type(self.block) is int and 1 <= self.block < self.r
        self.require(fits, "block", self.block, f"an integer of at least 1 and less than r={self.r}")


class AntiPaSTOArrow(AntiPaSTO):
    """See the module's docstring."""

    name = "antipasto_arrow"
    Config = AntiPaSTOArrowConfig
    config: AntiPaSTOArrowConfig
    M: Tensor

    @classmethod
    def specs(cls, config: AntiPaSTOArrowConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:  # type: ignore[override]
        b = config.block
        return {**super().specs(config, d_in, d_out), "M": TensorSpec((b, b)), "g": TensorSpec((config.r - b,))}

    def core(self, h: Tensor) -> Tensor:
        h = h * self.S.to(h.dtype)
        top, rest = h[..., : self.config.block], h[..., self.config.block :]
        mixed = top + self.coeff * top @ self.M.to(h.dtype).T
        scaled = rest * gain(self.g.to(h.dtype), self.coeff, self.config.suppress_only)
        return torch.cat((mixed, scaled), dim=-1)
