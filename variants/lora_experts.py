"""LoRA on weights that are stacked in one parameter, such as a mixture's experts: one A and B for each.

    W'_e = W_e + s B_e A_e        A: (n, r, d_in), B: (n, d_out, r), s as in LoRA

The module indexes its parameter, so the sum is formed before its forward, in the dtype of the parameter, and the
parameter is restored afterwards. In half precision a change below the parameter's spacing is lost to rounding in the
sum, as in a merge. Dropout raises an error: it would act on an x that the adapter does not see.

Identity at t=0: B = 0 exactly. Reference: ``peft.tuners.lora.layer.ParamWrapper`` (``target_parameters``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from variants.lora import LoRA, LoRAConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.stacks import Stack
from variants.runtime.spec import TensorSpec


class LoRAExperts(LoRA):
    """See the module's docstring."""

    n: int

    def _place(self, config: LoRAConfig, layer: Any) -> None:
        super()._place(config, layer)
        self.n, self.transposed, self.parameter = layer.n, layer.transposed, layer.parameter
        self._waiting: list[nn.Parameter] = []

    def own_specs(self) -> dict[str, TensorSpec]:
        """A and B of all n."""
        start = _gaussian if self.config.init == "gaussian" else _kaiming
        A, B = (self.n, self.config.r, self.d_in), (self.n, self.d_out, self.config.r)
        return {"A": TensorSpec(A, start), "B": TensorSpec(B)}

    def check_layer(self, layer: nn.Module) -> None:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if not (weight.is_floating_point() and weight.itemsize > 1):
            raise AdapterError(
                got=f"{self.parameter} of {weight.dtype}",
                want="stacked weights in plain floating-point numbers",
                where=self.name,
                fix="Attach before quantising, or leave the parameter out.",
            )
        if self.config.dropout:
            raise AdapterError(
                got=f"dropout={self.config.dropout} on {self.parameter}, a parameter of {self.n} stacked weights",
                want="dropout=0: the module hands its inputs to no layer",
                where=self.name,
                fix="Leave dropout out, or put the stacked parameters in an adapter of their own.",
            )

    def hook(self, layer: nn.Module) -> None:
        """Let the owner compute with W' from now on."""
        assert isinstance(layer, Stack)
        self._handles.append(layer.owner.register_forward_pre_hook(self._enter))
        self._handles.append(layer.owner.register_forward_hook(self._leave, always_call=True))

    def _enter(self, owner: nn.Module, args: tuple[Any, ...]) -> None:
        stored = owner._parameters[self.parameter]
        assert stored is not None
        self._waiting.append(stored)
        owner._parameters[self.parameter] = self._effective(stored)  # type: ignore[assignment]

    def _leave(self, owner: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._waiting:
            owner._parameters[self.parameter] = self._waiting.pop()

    def _effective(self, stored: Tensor) -> Tensor:
        """W', laid out as the parameter is."""
        dtype = torch.promote_types(stored.dtype, self.A.dtype)
        left, right = (self.A.mT, self.B.mT) if self.transposed else (self.B, self.A)
        with torch.autocast(stored.device.type, enabled=False):  # which would round the weights
            wide = torch.baddbmm(stored.to(dtype), left.to(dtype), right.to(dtype), alpha=self.config.scale)
        return wide.to(stored.dtype)

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        """``W': (n, d_out, d_in)`` in float64, and no bias."""
        W: Tensor = layer.weight  # type: ignore[assignment]
        with torch.no_grad():
            whole = torch.baddbmm(W.double(), self.B.double(), self.A.double(), alpha=self.config.scale)
        return whole, whole.new_zeros(0)


def _kaiming(shape: torch.Size, layer: nn.Module) -> Tensor:
    """Each as in LoRA: uniform on +-1/sqrt(d_in)."""
    bound = 1 / math.sqrt(shape[-1])
    return torch.empty(shape).uniform_(-bound, bound)


def _gaussian(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.randn(shape) / shape[1]
