"""How small a change is still seen: of what a tensor adds, of a gradient, of a start; one tensor at a time.

    contribution    the forward computes with T (1 + e) or T (1 - e) in the place of a tensor T, number by number in a
                    fixed pattern: of a vector that is normalised, one factor for all would change nothing
    gradient        the output is right, and the gradient of T is (1 + e) times the right one
    start           T starts at (1 + e) times its value; at e where it should start at zero

e is a power of ten. The smallest one that the checks of that kind detect is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conformance.measuring.conditioning import signs
from proof.ask import killers
from proof.pool import each
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from variants.runtime.adapter import Adapter

CHECKS = {
    "contribution": ("forward",),
    "gradient": ("gradients",),
    "start": ("init", "reconstruction", "data_init"),
}
SMALLEST = 15
"""Of the powers of ten: 1e-1 to 1e-15."""
NEVER = 0


@dataclass(frozen=True)
class Seen:
    """Per tensor and kind of change the exponent n of the smallest change 10^-n that is seen; 0 if 0.1 is not."""

    variant: str
    tensors: dict[str, dict[str, int]] = field(default_factory=dict)


def run(workers: int) -> list[Seen]:
    """Every variant of this repository."""
    return each(of_variant, [entry.name for entry in ENTRIES], workers)


def of_variant(name: str) -> Seen:
    """One variant, each of its tensors."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    code: type[Adapter] = entry.code
    specs = code.specs(code.Config(), 512, 512)
    found: dict[str, dict[str, int]] = {}
    for tensor, spec in specs.items():
        if spec.kept:
            continue
        trains = spec.trainable and not spec.buffer
        kinds = [kind for kind in CHECKS if kind != "gradient" or trains]
        found[tensor] = {kind: smallest(partial(_is_seen, name, tensor, kind)) for kind in kinds}
    return Seen(name, found)


def smallest(seen: Callable[[int], bool]) -> int:
    """The largest n of 1 to ``SMALLEST`` with ``seen(n)``, which is true up to some n; ``NEVER`` if there is none."""
    low, high = NEVER, SMALLEST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if seen(middle) else (low, middle)
    return low


def _is_seen(name: str, tensor: str, kind: str, n: int) -> bool:
    like = next(entry for entry in ENTRIES if entry.name == name)
    changed = entry_for(changed_by(like.code, tensor, kind, 10.0**-n), like=like)
    return bool(killers(changed, CHECKS[kind], first=True))


def changed_by(code: type[Adapter], tensor: str, kind: str, e: float) -> type[Adapter]:
    """The variant with that change."""

    class Changed(code):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.__dict__["computing"] = False
            there = kind == "start" and kwargs.get("values") is None
            t = super().__getattr__(tensor) if there and tensor in {*self._parameters, *self._buffers} else None
            if t is not None:
                with torch.no_grad():
                    t.mul_(1 + e) if bool(t.any()) else t.add_(e)

        def __getattr__(self, name: str) -> Any:
            value = super().__getattr__(name)
            if name != tensor or not self.__dict__.get("computing"):
                return value
            if kind == "contribution":
                pattern = signs(value.detach())
                return value * torch.where(pattern == 0, 1 + e, 1 + e * pattern)
            return value + e * (value - value.detach()) if kind == "gradient" else value

        def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
            return self._while_computing(super().change_input, layer, x)

        def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return self._while_computing(super().change_output, layer, x, y)

        def _while_computing(self, compute: Callable[..., Tensor], *args: Any) -> Tensor:
            self.__dict__["computing"] = True
            try:
                return compute(*args)
            finally:
                self.__dict__["computing"] = False

    # What the variant does not change, the runtime must not hook.
    for method in ("change_input", "change_output"):
        if getattr(code, method) is getattr(Adapter, method):
            delattr(Changed, method)
    Changed.__name__, Changed.__doc__ = code.__name__, code.__doc__
    Changed.__module__ = code.__module__
    return Changed
