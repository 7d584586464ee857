"""Elementwise output gate (IA3, Liu et al. 2022, arXiv 2205.05638).

    y' = (W x + b) * g        g: (d_out,)

The paper puts it on keys and values; feed-forward layers take the input gate of ``ia3_ff``.

Identity at t=0: g = 1 exactly, live. In bfloat16 a step below about 2e-3 at 1 is lost to rounding: keep g in float32.
Reference: ``peft.tuners.ia3.layer.Linear``, is_feedforward=False.
"""

from __future__ import annotations

from torch import Tensor, nn

from variants.options import documented
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.spec import TensorSpec


@documented
class IA3Config(AdapterConfig):
    """Configuration of IA3: the method has no rank and no scale."""


class IA3(Adapter):
    """See the module's docstring."""

    name = "ia3"
    Config = IA3Config
    g: Tensor

    @classmethod
    def specs(cls, config: IA3Config, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_out,), "ones")}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g).to(y.dtype)
