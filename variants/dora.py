"""Weight-decomposed low-rank update (DoRA, Liu et al. 2024, arXiv 2402.09353).

    V  = W + s B A
    y' = b + (m / |V|_row) * (V x)        A: (r, d_in), B: (d_out, r), m: (d_out,), s = alpha / r

The bias is not scaled. |V|_row is a constant for the gradient (section 4.3 of the paper; ``dora_simple=True``, the
default of the authors' code, and all that peft has). With ``dora_simple=False``, their code lets |V|_row take part:
the same y', the same gradients of m and x, other ones of A and B. That is not offered; the card says how far it is from
here. With dropout, x is dropped for all of V, while the plain W x + b underneath keeps the whole x, as in peft:

    y' = W x + b + (m / |V|_row) * (V drop(x)) - W drop(x)

A row of V that is exactly zero keeps the factor 1 (m / |V| would be 0 / 0).

V is not formed. With f = m / |V|_row and y = W x + b,

    y' = b + f * (y + s B A x - b)
    |V|_row^2 = |W|_row^2 + s rowsum((2 W A^T + s B (A A^T)) * B)

which is the expanded square, W A^T: (d_out, r). Where the terms cancel, digits are lost; those rows of V are formed.
A quantised layer is dequantised some rows at a time.

Identity at t=0: B = 0 and m = |W|_row. A gets no gradient in the first step; B and m do.
Reference: ``peft.tuners.lora.dora.DoraLinearLayer``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.lora import LoRAConfig
from variants.options import documented
from variants.runtime.adapter import Adapter, row_norm
from variants.runtime.layers.numbers import row_pieces, through
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import TensorSpec
from variants.runtime.state import weight_of


@documented
class DoRAConfig(LoRAConfig):
    """Configuration of DoRA: the options of LoRA."""


CANCELLED = 0.05
"""A squared norm below this share of its terms is taken from the row itself; above it, 5 bits are lost at most."""


def _row_norm_of_base(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.cat([row_norm(W, torch.promote_types(W.dtype, torch.float32)) for _, W in row_pieces(layer)])


class DoRA(Adapter):
    """See the module's docstring."""

    name = "dora"
    Config = DoRAConfig
    config: DoRAConfig
    A: Tensor
    B: Tensor
    m: Tensor

    @classmethod
    def specs(cls, config: DoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {
            "A": TensorSpec((config.r, d_in), config.initial_A),
            "B": TensorSpec((d_out, config.r)),
            "m": TensorSpec((d_out,), _row_norm_of_base),
        }

    def check_layer(self, layer: nn.Module) -> None:
        self.require_numbers(layer)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        A, W, s = self.A, weight_of(layer), self.config.scale
        f, BT = self._kept((W, A, self.B, self.m), lambda: (self._factor_of(layer), self._B_transposed()))
        if self.training and self.config.dropout:
            x = self._dropped(x, A.dtype)
            Wx = through(x, layer) if self.on_codes else F.linear(x, W.to(A.dtype))
            Vx = plus_product(Wx, F.linear(x, A), BT, s)
            return (y - torch.addcmul(Wx, f, Vx, value=-1)).to(y.dtype)
        Vx = plus_product(y, thin_product(x, A), BT, s)
        b: Tensor | None = getattr(layer, "bias", None)
        return (f * Vx if b is None else torch.lerp(b.to(Vx.dtype), Vx, f.to(Vx.dtype))).to(y.dtype)

    def _B_transposed(self) -> Tensor:
        """B^T; where it is kept, laid out as a product with one row reads it."""
        kept = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        return self.B.t().contiguous() if kept else self.B.t()

    def _factor_of(self, layer: nn.Module) -> Tensor:
        if not self.on_codes:
            return self.factor(weight_of(layer))
        with torch.no_grad():
            norms, zeros = zip(*(self.norm(W, self.B[rows]) for rows, W in row_pieces(layer)))
        norm = torch.cat(norms)
        return self._over(norm, None if all(zero is None for zero in zeros) else norm == 0)

    def factor(self, W: Tensor) -> Tensor:
        """f = m / |V|_row: ``(d_out,)``."""
        with torch.no_grad():
            norm, zero = self.norm(W)
        return self._over(norm, zero)

    def _over(self, norm: Tensor, zero: Tensor | None) -> Tensor:
        if zero is None:
            return self.m / norm
        # Divided by 1, for 0 / 0 would send NaN back to m.
        return torch.where(zero, 1, self.m / torch.where(zero, 1, norm))

    def norm(self, W: Tensor, B: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """|V|_row, ``(d_out,)``, computed in at least float32; and which rows are zero, or None if none can be.

        Of some rows of W alone, with their rows ``B``.
        """
        wide = torch.promote_types(torch.promote_types(W.dtype, self.A.dtype), torch.float32)
        A, B, s = self.A.to(wide), (self.B if B is None else B).to(wide), self.config.scale
        base, AA = row_norm(W, wide).square(), A @ A.t()
        square = torch.add(base, (torch.addmm(thin_product(W, A), B, AA, alpha=s, beta=2) * B).sum(dim=1), alpha=s)
        rows = square <= CANCELLED * torch.addmv(base, B.square(), AA.diagonal(), alpha=s * s)
        some = _branch(rows)
        if some is None:
            norm = row_norm(torch.addmm(W.to(wide), B, A, alpha=s)).to(self.A.dtype)
            return norm, norm == 0
        if some:
            square[rows] = row_norm(torch.addmm(W[rows].to(wide), B[rows], A, alpha=s)).square()
        norm = square.sqrt().to(self.A.dtype)
        return norm, norm == 0 if some else None


def _branch(rows: Tensor) -> bool | None:
    """Is any of them true? None where one cannot branch: while compiling, and for several at once in vmap."""
    if torch.compiler.is_compiling():
        return None
    try:
        return bool(rows.any())
    except RuntimeError:
        return None
