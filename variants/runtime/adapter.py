"""The base class of all variants: an ``nn.Module`` that sits on one target layer and changes what it computes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.spec import TensorSpec


class Adapter(nn.Module):
    """One adapter on one linear layer ``y = x W^T + b``, with ``W: (d_out, d_in)``.

    A variant names its tensors in ``specs`` and overrides ``change_input`` (runs before the layer) or
    ``change_output`` (runs after it). The adapter is a child of the layer called ``adapter``: it moves, casts, copies
    and pickles with it, and its tensors are in the layer's ``state_dict``.
    """

    name: ClassVar[str]
    Config: ClassVar[type[AdapterConfig]]

    def __init__(self, config: Any, layer: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.d_in: int = layer.in_features  # type: ignore[assignment]
        self.d_out: int = layer.out_features  # type: ignore[assignment]
        self._handles: list[RemovableHandle] = []
        self.check_layer(layer)
        weight: Tensor = layer.weight  # type: ignore[assignment]
        for name, spec in self.specs(config, self.d_in, self.d_out).items():
            value = spec.make(layer, config.torch_dtype, weight.device)
            if spec.buffer:
                self.register_buffer(name, value, persistent=True)
            else:
                self.register_parameter(name, nn.Parameter(value, requires_grad=spec.trainable))
        self.train(layer.training)

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        """Every tensor of the adapter under the name the formula gives it."""
        raise NotImplementedError

    def check_layer(self, layer: nn.Module) -> None:
        """Raise ``AdapterError`` when the method cannot work on this layer. Nothing to check by default."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer sees in place of ``x: (..., d_in)``; same shape and dtype."""
        raise NotImplementedError

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """What the layer gives in place of ``y: (..., d_out)``; same shape and dtype."""
        raise NotImplementedError

    def require_rank_at_most(self, limit: int, why: str) -> None:
        """Refuse a rank beyond the spectrum, for the methods that have one."""
        if self.config.r > limit:
            raise AdapterError(
                got=f"r={self.config.r}",
                want=f"r of at most {limit} ({why})",
                where=f"{self.name} on a layer {self.d_in} -> {self.d_out}",
                fix="Lower r, or leave this layer out with Targets(exclude=...).",
            )

    def hook(self, layer: nn.Module) -> None:
        """Start changing what ``layer`` computes."""
        if type(self).change_input is not Adapter.change_input:
            self._handles.append(layer.register_forward_pre_hook(self._before, with_kwargs=True))
        if type(self).change_output is not Adapter.change_output:
            self._handles.append(layer.register_forward_hook(self._after, with_kwargs=True))

    def unhook(self) -> None:
        """Stop; the layer computes what it did before."""
        while self._handles:
            self._handles.pop().remove()

    def _before(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (self.change_input(layer, args[0]), *args[1:]), kwargs
        key = _input_name(kwargs)
        return args, {**kwargs, key: self.change_input(layer, kwargs[key])}

    def _after(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Tensor:
        return self.change_output(layer, args[0] if args else kwargs[_input_name(kwargs)], y)


def _input_name(kwargs: dict[str, Any]) -> str:
    """The keyword of the input: ``input`` for nn.Linear, another (``x``) for other linear-like layers."""
    return "input" if "input" in kwargs else next(iter(kwargs))


def row_norm(M: Tensor) -> Tensor:
    """Euclidean norm of each row: ``(n, m) -> (n,)``."""
    norms: Tensor = torch.linalg.vector_norm(M, dim=1)
    return norms
