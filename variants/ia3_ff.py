"""Elementwise input gate for feed-forward layers (IA3, Liu et al. 2022, arXiv 2205.05638).

    y' = W (x * g) + b        g: (d_in,)

Identity at t=0: g = 1 exactly, live. In bfloat16 a step below about 2e-3 at 1 is lost to rounding: keep g in float32.
Reference: ``peft.tuners.ia3.layer.Linear``, is_feedforward=True.
"""

from __future__ import annotations

from torch import Tensor, nn

from variants.options import documented
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.spec import TensorSpec


@documented
class IA3FFConfig(AdapterConfig):
    """Configuration of IA3's input gate: the method has no rank and no scale."""


class IA3FF(Adapter):
    """See the module's docstring."""

    name = "ia3_ff"
    Config = IA3FFConfig
    g: Tensor

    @classmethod
    def specs(cls, config: IA3FFConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_in,), "ones")}

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return (x * self.g).to(x.dtype)
