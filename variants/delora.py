"""Low-rank update of normalised directions with a trainable strength (DeLoRA, Bini et al. 2025, arXiv 2503.18225).

    y' = W x + b + B diag(xi) A (w * x)       xi_i = (lam / r) / (max(|a_i|, c) max(|b_i|, c)),  c = 1e-4

    A: (r, d_in) with rows a_i, B: (d_out, r) with columns b_i, lam: (1,), w: (d_in,) frozen, w_j = |W[:, j]|

Computed as ``y + B ((diag(xi) A diag(w)) x)``: the two diagonal matrices scale A, not x.
Dropout acts on the x of the update. Identity at t=0: B = 0 exactly. A and lam get no gradient in the first step; B
does, and it carries the factor 1 / c (with ``dtype="float16"`` it can overflow).

``frozen_copies`` is the authors' own form: B is initialised like A, the update of C and D, frozen copies of the initial
values, is subtracted, and the norms are not clamped:

    y' = W x + b + (B diag(xi_AB) A - D diag(xi_CD) C) (w * x)

Identity at t=0: C = A and D = B exactly. A and B are live, lam gets no gradient in the first step.
Reference: ``peft.tuners.delora.layer.DeloraLinear``; https://github.com/ExplainableML/DeLoRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.adapter import Adapter, row_norm
from variants.runtime.config import AdapterConfig
from variants.runtime.layers.numbers import row_pieces
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import TensorSpec

SMALLEST_NORM = 1e-4


@documented
@dataclass(frozen=True, kw_only=True)
class DeLoRAConfig(AdapterConfig):
    """Configuration of DeLoRA."""

    r: int = option(
        8,
        "rank of the update",
        range="an integer of at least 1",
        symbol="r",
        paper="r",
        peft="r",
        change="raise it if the update needs more capacity; trainable parameters and cost grow in proportion",
    )
    lam: float = option(
        15.0,
        "strength of the update at t=0; it trains",
        range="a positive number (at 0 nothing would train)",
        symbol="lam",
        paper="lambda",
        peft="delora_lambda",
        change="it bounds how far the update can go: lower it to stay nearer the base model",
    )
    dropout: float = option(
        0.0,
        "probability with which training drops each element of the x of the update",
        range="a probability in [0, 1)",
        symbol="x of the update",
        paper="dropout",
        peft="module_dropout",
        change="raise it (0.05 to 0.1) if a small data set is overfitted",
    )
    frozen_copies: bool = option(
        False,
        "whether to use the authors' form: B is drawn like A, and the update of frozen initial copies is subtracted",
        range="True or False",
        symbol="C, D",
        paper="the frozen copies of the initialisation",
        change="True to compute what the authors' code computes; peft cannot load it",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rank(self.r)
        self.require_finite("lam", self.lam)
        self.require(self.lam > 0, "lam", self.lam, "a positive number (at 0 nothing would train)")
        self.require_probability("dropout", self.dropout)
        self.require_flag("frozen_copies", self.frozen_copies)


def _column_norm_of_base(shape: torch.Size, layer: nn.Module) -> Tensor:
    pieces = [row_norm(W.to(torch.promote_types(W.dtype, torch.float32)).T) for _, W in row_pieces(layer)]
    return pieces[0] if len(pieces) == 1 else row_norm(torch.stack(pieces, dim=1))


class DeLoRA(Adapter):
    """See the module's docstring."""

    name = "delora"
    Config = DeLoRAConfig
    config: DeLoRAConfig
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    lam: Tensor
    w: Tensor

    @classmethod
    def specs(cls, config: DeLoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        A, B = (config.r, d_in), (d_out, config.r)
        specs = {
            "A": TensorSpec(A, "kaiming"),
            "B": TensorSpec(B, "kaiming" if config.frozen_copies else "zeros"),
            "lam": TensorSpec((1,), lambda shape, layer: torch.full(shape, config.lam, dtype=torch.float64)),
            "w": TensorSpec((d_in,), _column_norm_of_base, buffer=True),
        }
        if config.frozen_copies:
            specs |= {"C": TensorSpec(A, buffer=True), "D": TensorSpec(B, buffer=True)}
        return specs

    def check_layer(self, layer: nn.Module) -> None:
        self.require_numbers(layer)

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        if not self.config.frozen_copies:
            return {}
        specs = self.specs(self.config, self.d_in, self.d_out)
        A, B = (specs[name].make(layer, self.config.torch_dtype, torch.device("cpu")) for name in ("A", "B"))
        return {"A": A, "B": B, "C": A, "D": B}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = self._dropped(x, self.A.dtype)
        h = thin_product(x, self.normalised(self.A, self.B))
        if not self.config.frozen_copies:
            return plus_product(y, h, self.B.t()).to(y.dtype)
        # Subtracted from each other before y is added: at the start nothing is left, to the last bit.
        start = F.linear(thin_product(x, self.normalised(self.C, self.D)), self.D)
        return (y + (F.linear(h, self.B) - start)).to(y.dtype)

    def normalised(self, A: Tensor, B: Tensor) -> Tensor:
        """``diag(xi) A diag(w)``, (r, d_in): every scale goes into A, which is small beside x."""
        a, b = row_norm(A), row_norm(B.t())
        if not self.config.frozen_copies:
            a, b = a.clamp(min=SMALLEST_NORM), b.clamp(min=SMALLEST_NORM)
        xi = self.lam / self.config.r / (a * b)
        return xi[:, None] * A * self.w
