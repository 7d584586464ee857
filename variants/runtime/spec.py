"""What one tensor of an adapter is: shape, initial value, trainable or frozen, parameter or buffer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variants.runtime.errors import AdapterError

Initial = str | Callable[[torch.Size, nn.Module], Tensor]
"""A mode by name, or a callable that gets the shape and the target layer and returns the value."""


def _kaiming(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Uniform on +-1/sqrt(fan_in), fan_in = shape[1]: what ``nn.Linear`` does to its own weight."""
    return nn.init.kaiming_uniform_(torch.empty(shape, dtype=dtype), a=math.sqrt(5))


MODES: dict[str, Callable[[torch.Size, torch.dtype], Tensor]] = {
    "zeros": lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    "near_zero": lambda shape, dtype: 1e-4 * torch.randn(shape, dtype=dtype),
    "ones": lambda shape, dtype: torch.ones(shape, dtype=dtype),
    "near_one": lambda shape, dtype: 1 + 1e-4 * torch.randn(shape, dtype=dtype),
    "kaiming": _kaiming,
}


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of an adapter.

    ``initial``: a key of ``MODES`` or a callable ``(shape, layer) -> Tensor``. ``near_zero`` and ``near_one`` add
    N(0, 1e-4); in bfloat16 ``near_one`` is exactly 1, because the spacing of bfloat16 there is 2**-7.
    ``buffer=True`` makes a persistent buffer (saved, moved and cast with the module, never trained); ``kept=True`` a
    plain tensor that no forward needs: saved with the adapter, and otherwise in nobody's way.
    """

    shape: tuple[int, ...]
    initial: Initial = "zeros"
    trainable: bool = True
    buffer: bool = False
    kept: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.initial, str) and self.initial not in MODES:
            raise AdapterError(
                got=repr(self.initial),
                want="one of " + ", ".join(MODES) + ", or a callable",
                where="TensorSpec.initial",
                fix="Name a mode or pass a callable (shape, layer) -> Tensor.",
            )

    def make(self, layer: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The initial value, computed in at least float32 on the CPU (so that a seed means the same everywhere)."""
        shape = torch.Size(self.shape)
        wide = torch.promote_types(dtype, torch.float32)
        with torch.device("cpu"):
            value = MODES[self.initial](shape, wide) if isinstance(self.initial, str) else self.initial(shape, layer)
        self.require_shape(value)
        # A copy: a callable may return a view of the layer's own weight, and training must not write there.
        return value.detach().to(device=device, dtype=dtype).clone(memory_format=torch.contiguous_format)

    def require_shape(self, value: object) -> None:
        """Refuse an initial value that is no tensor of this shape."""
        if not isinstance(value, Tensor) or value.shape != self.shape:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise AdapterError(
                got=f"an initial value of {got}",
                want=f"a tensor of shape {tuple(self.shape)}",
                where="TensorSpec",
                fix="Let the initial-value callable return a tensor of the shape it was given.",
            )
