"""Product of Householder reflections on the input side (HRA, Yuan et al. 2024, arXiv 2405.17484).

    W' = W H_0 H_1 ... H_{r-1}        H_i = I - 2 u_i u_i^T / |u_i|^2,  rows u_i of U: (r, d_in)

On row inputs the rightmost factor acts first: x H_{r-1} ... H_0 W^T. With ``gram_schmidt`` the rows are
orthonormalised first, Q = GS(U), and W' = W (I - 2 Q^T Q).

The product is one update of rank r; no d_in x d_in matrix is formed:

    x H_{r-1} ... H_0 = x - c U,  S c^T = U x^T        S = striu(U U^T) + diag(U U^T) / 2

Reflection i subtracts c_i u_i from the result of the reflections above i, x - sum_{j>i} c_j u_j, so
c_i |u_i|^2 / 2 = u_i x^T - sum_{j>i} c_j u_i u_j^T: row i of the triangular system. c U = (x U^T) K with K = S^-T U.

Identity at t=0: rows 2i and 2i + 1 are equal, so the reflections cancel in pairs (r must be even); U is live.
The values are uniform on +-1/sqrt(r/2): the forward does not depend on the lengths |u_i|, but the gradient scales with
1/|u_i|.
With ``gram_schmidt`` no U gives the identity (I - 2 Q^T Q flips r directions for any Q) and equal rows would give
0/0, so the rows of U are drawn one by one, uniform on +-1/sqrt(r).

``side`` output is what the authors' llama layers do: U: (r, d_out), computed in the same way as the input side

    W' = H_{r-1} ... H_0 W        H_i = I - 2 u_i u_i^T / (|u_i|^2 + eps)        y' = (y - b) H_0 ... H_{r-1} + b

U is initialised uniform on +-eps sqrt(6 / r): vectors much shorter than sqrt(eps) hardly reflect, so W' is close to W
at t=0, for any r. With ``gram_schmidt`` there is no eps, and U = [I_r 0]: the first r outputs are negated at t=0.
``orthogonality_penalty`` is the term that their script adds to the loss: | I_r - V V^T |_F, V the normalised rows of U.
Reference: ``peft.tuners.hra.layer.HRALinear`` (its hra_u is U transposed); the output side: the authors' llama code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.layers.numbers import back_through, through
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import MODES, TensorSpec
from variants.runtime.state import weight_of


@documented
@dataclass(frozen=True, kw_only=True)
class HRAConfig(AdapterConfig):
    """Configuration of HRA."""

    r: int = option(
        8,
        "number of reflections",
        range="an even integer of at least 2; any of at least 1 with gram_schmidt or on the output side",
        symbol="r",
        paper="r",
        peft="r",
        change="raise it if the update needs more capacity; trainable parameters and cost grow in proportion",
    )
    gram_schmidt: bool = option(
        False,
        "whether the reflection vectors are orthonormalised first",
        range="True or False",
        symbol="Q = GS(U)",
        paper="lambda to infinity, the strictly orthogonal form",
        peft="apply_GS",
        change="True for orthogonal reflections; then t=0 is not the identity",
    )
    side: str = option(
        "input",
        "whether the reflections act on the layer's input or on its output",
        range="input, output",
        symbol="H_0 ... H_{r-1}",
        paper="the authors' llama layers have the output side",
        change="output for any rank and for what the authors' llama code trains; peft cannot load it",
    )
    eps: float = option(
        6e-5,
        "room beside the squared length of a vector, on the output side",
        range="a positive number",
        symbol="eps",
        paper="eps, in the authors' llama layers",
        change="a larger one gives longer initial vectors: their bound is eps sqrt(6 / r)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rank(self.r)
        self.require_flag("gram_schmidt", self.gram_schmidt)
        self.require_choice("side", self.side, ("input", "output"))
        self.require_finite("eps", self.eps)
        self.require(self.eps > 0, "eps", self.eps, "a positive number")
        even = self.gram_schmidt or self.side == "output" or self.r % 2 == 0
        self.require(even, "r", self.r, "an even number (reflections start as pairs that cancel)")


def _uniform_over_rank(shape: torch.Size, layer: nn.Module) -> Tensor:
    """Uniform on +-1/sqrt(rows): the fan-in is the number of reflections, not d_in."""
    r, d_in = shape
    return MODES["kaiming"](torch.Size((d_in, r)), torch.float32).T


def _pairs(shape: torch.Size, layer: nn.Module) -> Tensor:
    r, d_in = shape
    return _uniform_over_rank(torch.Size((r // 2, d_in)), layer).repeat_interleave(2, dim=0)


def _short(eps: float) -> Callable[[torch.Size, nn.Module], Tensor]:
    """Uniform on +-eps sqrt(6 / r), up to eps^2: Kaiming's with a = 1 / eps and the fan-in of the rank."""

    def drawn(shape: torch.Size, layer: nn.Module) -> Tensor:
        return nn.init.kaiming_uniform_(torch.empty(shape[1], shape[0]), a=1 / eps).T

    return drawn


def _unit_rows(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.eye(*shape)


class HRA(Adapter):
    """See the module's docstring."""

    name = "hra"
    Config = HRAConfig
    config: HRAConfig
    U: Tensor

    @classmethod
    def specs(cls, config: HRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        if config.side == "output":
            short = _short(config.eps)
            return {"U": TensorSpec((config.r, d_out), _unit_rows if config.gram_schmidt else short)}
        return {"U": TensorSpec((config.r, d_in), _uniform_over_rank if config.gram_schmidt else _pairs)}

    def check_layer(self, layer: nn.Module) -> None:
        self.require_numbers(layer)  # which a half-precision layer is reflected by
        if self.config.gram_schmidt:
            most = self.d_in if self.config.side == "input" else self.d_out
            self.require_rank_at_most(most, f"there are no more orthogonal directions than {self.config.side}s")

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return self.reflect(x) if self.config.side == "input" and x.dtype == self._wide(x) else x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = self._wide(x)
        if self.config.side == "output":
            return self._reflect_output(layer, x, y, wide)
        if x.dtype == wide:
            return y
        W = weight_of(layer)
        # A half-precision layer would round the reflected input, and with it the gradient that U gets.
        U, KW = self._kept((self.U, W), lambda: self._through(layer, wide), wide)
        return plus_product(y, thin_product(x, U), KW, -1).to(y.dtype)

    def _reflect_output(self, layer: nn.Module, x: Tensor, y: Tensor, wide: torch.dtype) -> Tensor:
        if x.dtype != wide:  # from x through U W: of a rounded output U would get a rounded gradient
            W = weight_of(layer)
            UW, K = self._kept((self.U, W), lambda: self._projected(layer, wide), wide)
            return plus_product(y, thin_product(x, UW), K, -1).to(y.dtype)
        bias: Tensor | None = getattr(layer, "bias", None)
        U, K = self._kept((self.U,), lambda: self.factors(wide), wide)
        return y - F.linear(y if bias is None else y - bias, U) @ K

    def _projected(self, layer: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        U, K = self.factors(dtype)
        return back_through(U, layer), K

    def reflect(self, h: Tensor) -> Tensor:
        """h H_{r-1} ... H_0 for rows ``h: (..., d_in)``."""
        U, K = self._kept((self.U,), lambda: self.factors(h.dtype), h.dtype)
        return plus_product(h, F.linear(h, U), K, -1)

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """U and K: ``(r, d_in)`` both, with x - (x U^T) K for the reflected x; Q and 2 Q with ``gram_schmidt``."""
        U = self.U.to(torch.promote_types(dtype, torch.float32))
        if self.config.gram_schmidt:
            Q = torch.linalg.qr(U.T).Q.T
            return Q.to(dtype), 2 * Q.to(dtype)
        eps = 0.0
        if self.config.side == "output":  # its first reflection acts first
            U, eps = U.flip(0), self.config.eps
        G = U @ U.T
        S = G.triu(1) + torch.diag((G.diagonal() + eps) / 2)
        K: Tensor = torch.linalg.solve_triangular(S.T, U, upper=False)
        return U.to(dtype), K.to(dtype)

    def orthogonality_penalty(self) -> Tensor:
        """How far the rows of U are from orthogonal, as a scalar to add to the loss."""
        V = self.U / torch.linalg.vector_norm(self.U, dim=1, keepdim=True)
        penalty: Tensor = torch.linalg.matrix_norm(torch.eye(len(V), dtype=V.dtype, device=V.device) - V @ V.T)
        return penalty

    def _through(self, layer: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        U, K = self.factors(dtype)
        return U, through(K, layer)

    def _wide(self, x: Tensor) -> torch.dtype:
        """The dtype to reflect in: at least float32 (r roundings would add up; bfloat16 has no QR on the CPU)."""
        if x.dtype == self.U.dtype and x.dtype.itemsize >= 4:
            return x.dtype
        return torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)
