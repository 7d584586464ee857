"""LoRA on the principal part of the weight (PiSSA, Meng et al. 2024, arXiv 2404.02948).

    y'    = W_res x + b + s B A x            A: (r, d_in), B: (d_out, r), s = alpha / r (rsLoRA: alpha / sqrt(r))
    W     = U diag(S) Vh,  S descending
    A0    = diag(sqrt(S_r / s)) Vh_r,  B0 = U_r diag(sqrt(S_r / s)),  W_res = W - s B0 A0

``niter``: None decomposes as exactly as the dtype allows, of a large weight only the part that is used; a number takes
that many rounds of a randomised decomposition of rank r without oversampling, which is quicker and coarser. Either way
W is decomposed in its own dtype, at least float32: a float64 weight keeps its digits.

A and B are initialised with A0 and B0. These are saved, as rounded to the adapter's dtype, because W_res is W minus
exactly that product: with them, loading a trained adapter computes the same W_res, without a decomposition
(which is slow, differs between machines where S_r is close to the next singular value, and is random with ``niter``).

On a quantised layer W is the dequantised weight, which is not changed: W_res is a difference that is never rounded,

    y'    = W x + b + s (B A - B0 A0) x

The authors quantise W_res of a weight that is not quantised yet. If it is quantised, this rounds a second time:
in nf4 the layer at t=0 would differ by 5 to 8 % of |W|, and would be farther from the original weight than either
(tests/runtime/quantised/test_quantised_residuals.py).

Identity at t=0 up to the rounding of W_res to the dtype of W (on a quantised layer, exactly). A and B are both live.
Reference: ``peft.tuners.lora.layer.LoraLayer.pissa_init``, which the authors' init_pissa.py calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.lora import LoRA
from variants.options import documented, option
from variants.runtime.config import LowRankConfig
from variants.runtime.layers.numbers import numbers_of
from variants.runtime.numerics.krylov import top_svd
from variants.runtime.numerics.products import thin_product
from variants.runtime.spec import TensorSpec


@documented
@dataclass(frozen=True, kw_only=True)
class PiSSAConfig(LowRankConfig):
    """Configuration of PiSSA."""

    alpha: float = option(
        8.0,
        "scale of the update; the singular values are divided by s at t=0",
        range="a positive number",
        symbol="alpha, in s = alpha / r",
        paper="alpha",
        peft="lora_alpha",
        change="seldom: the product s B0 A0 at t=0 does not depend on it",
    )
    niter: int | None = option(
        None,
        "rounds of a randomised decomposition; None decomposes exactly",
        range="None, or an integer of at least 0",
        symbol="A0, B0",
        paper="the fast SVD's niter",
        peft="init_lora_weights: pissa (None) or pissa_niter_<n>",
        change="a number such as 16 is faster on large layers, and less exact",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.alpha > 0, "alpha", self.alpha, "a positive number (singular values are divided by s)")
        rounds = self.niter is None or (type(self.niter) is int and self.niter >= 0)
        self.require(rounds, "niter", self.niter, "None for the exact decomposition, or a number of rounds")


class PiSSA(LoRA):
    """See the module's docstring."""

    name = "pissa"
    Config = PiSSAConfig  # type: ignore[assignment]
    config: PiSSAConfig  # type: ignore[assignment]
    A0: Tensor
    B0: Tensor

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        A, B = (config.r, d_in), (d_out, config.r)
        return {
            "A": TensorSpec(A),
            "B": TensorSpec(B),
            "A0": TensorSpec(A, kept=True),
            "B0": TensorSpec(B, kept=True),
        }

    def check_layer(self, layer: nn.Module) -> None:
        self.require_numbers(layer)
        self.require_rank_at_most(min(self.d_in, self.d_out), "the weight has no more singular values")

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        W = numbers_of(layer).detach()
        W = W.to(torch.promote_types(W.dtype, torch.float32))
        r = self.config.r
        if self.config.niter is None:
            U, S, Vh = top_svd(W, r)
        else:
            U, S, V = torch.svd_lowrank(W, q=r, niter=self.config.niter)
            Vh = V.T
        root = (S / self.config.scale).sqrt()
        A, B = root[:, None] * Vh, U * root
        return {"A": A, "B": B, "A0": A, "B0": B}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not self.on_codes:
            return super().change_output(layer, x, y)
        A, s = self.A, self.config.scale
        moved = F.linear(thin_product(self._dropped(x, A.dtype), A), self.B)
        A0, B0 = self.start
        start = F.linear(thin_product(x, A0), B0)  # exactly what was moved, as long as nothing has trained
        return (y + s * (moved - start)).to(y.dtype)

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """A0 and B0. On a quantised layer, where the forward needs them, they are buffers."""
        return (self.A0, self.B0) if self.on_codes else (self.file_tensors["A0"], self.file_tensors["B0"])

    def residual(self, W: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(W.dtype, self.A.dtype), torch.float32)
        A0, B0 = (t.to(W.device, wide) for t in self.start)
        return (W.to(wide) - self.config.scale * B0 @ A0).to(W.dtype)
