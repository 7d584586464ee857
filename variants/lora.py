"""Low-rank update of a linear layer (LoRA, Hu et al. 2021, arXiv 2106.09685).

    y' = W x + b + s B A x        A: (r, d_in), B: (d_out, r), s = alpha / r

rsLoRA (Kalajdzievski 2023, arXiv 2312.03732): s = alpha / sqrt(r). Dropout acts on the x that A sees.

Identity at t=0: B = 0 exactly, so A gets no gradient in the first step and B does.
Reference: ``peft.tuners.lora.layer.Linear``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variants.options import documented, option
from variants.runtime.adapter import Adapter
from variants.runtime.config import LowRankConfig
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import Initial, TensorSpec


@documented
@dataclass(frozen=True, kw_only=True)
class LoRAConfig(LowRankConfig):
    """Configuration of LoRA."""

    init: str = option(
        "kaiming",
        "distribution of A at t=0: kaiming is uniform on +-1/sqrt(d_in), gaussian is N(0, 1/r^2)",
        range="kaiming, gaussian",
        symbol="A at t=0",
        paper="a random Gaussian A",
        peft="init_lora_weights: True (kaiming) or gaussian",
        change="gaussian for peft's initialisation of that name",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("init", self.init, ("kaiming", "gaussian"))

    @property
    def initial_A(self) -> Initial:
        """How A starts."""
        return _gaussian if self.init == "gaussian" else "kaiming"


def _gaussian(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.randn(shape) / shape[0]


class LoRA(Adapter):
    """See the module's docstring."""

    name = "lora"
    Config = LoRAConfig
    config: LoRAConfig
    A: Tensor
    B: Tensor

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"A": TensorSpec((config.r, d_in), config.initial_A), "B": TensorSpec((d_out, config.r))}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        A = self.A
        h = thin_product(self._dropped(x, A.dtype), A)
        return plus_product(y, h, self.B.t(), self.config.scale).to(y.dtype)
