"""Kinds of linear layers: ``nn.Linear`` and its likes, and transformers' Conv1D, which stores its weight transposed."""

from __future__ import annotations

from typing import TypeGuard

from torch import Tensor, nn

from variants.runtime.layers.stacks import Stack


def is_conv1d(layer: nn.Module) -> bool:
    """transformers' Conv1D (GPT-2): ``weight: (d_in, d_out)``, y = x weight + b. transformers is not imported."""
    return any(
        kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils" for kind in type(layer).__mro__
    )


def sizes_of(layer: nn.Module) -> tuple[int, int]:
    """``(d_in, d_out)``. AttributeError where the layer is not linear-like."""
    if is_conv1d(layer):
        d_in, d_out = layer.weight.shape  # type: ignore[misc]
        return d_in, d_out
    return layer.in_features, layer.out_features  # type: ignore[return-value]


def is_linear_like(module: nn.Module) -> TypeGuard[nn.Module]:
    """A layer y = W x + b that an adapter can go on: it has a weight and says how many features go in and out."""
    if is_conv1d(module):
        return True
    if isinstance(module, Stack):  # many weights, for which a method has an adapter of another kind
        return False
    sizes = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return all(isinstance(n, int) for n in sizes) and isinstance(getattr(module, "weight", None), Tensor)


def weight_of(layer: nn.Module) -> Tensor:
    """The layer's weight as ``(d_out, d_in)``, or ``(n, d_out, d_in)`` of a stack.

    Where it is stored transposed (Conv1D), a view through which it can be written.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight.t() if is_conv1d(layer) else weight
