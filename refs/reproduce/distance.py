"""How far a recomputed number may be from a recorded one: the manifest's own error decides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refs.golden_vectors import Vector

ROOM = 1.01
"""Times the distance that the manifest states, which is that of a float64 evaluation of the formula, like ours."""
EXACT = 1e-12
"""Of the scale: what two float64 evaluations of one formula differ by."""
DIFFERENCES = 1e-8
"""Of the scale: how well the manifest's central differences knew a gradient."""
ROUNDINGS = {torch.float64: 4096, torch.float32: 16, torch.bfloat16: 2}
"""Where the manifest states no distance: spacings at the scale that the authors' arithmetic may have cost them."""
SVD_LOSS = {torch.float64: 1, torch.float32: 64, torch.bfloat16: 1}
"""How many times that after a decomposition in float32: singular vectors lose the digits of S_1 / gap."""


class Irreproducible(Exception):
    """A vector that cannot be compared: another shape than its transcription gives, or nothing recorded."""


@dataclass(frozen=True)
class Distance:
    """How far a recomputed quantity is from the recorded one. ``tensors``: the recorded tensors it speaks for."""

    quantity: str
    tensors: tuple[str, ...]
    error: float
    limit: float
    where: tuple[int, ...]

    @property
    def reproduced(self) -> bool:
        """Whether it is within its limit."""
        return self.error <= self.limit

    def __str__(self) -> str:
        return f"{self.quantity}: error {self.error:.4g} at {list(self.where)}, limit {self.limit:.4g}"


def limit(scale: float, dtype: torch.dtype, known: float | None, loss: int = 1, *, gradient: bool = False) -> float:
    """The one rule for every recorded number.

    ``known``: the distance that the manifest states. We may be ``ROOM`` times as far, and by what float64 itself, or
    the manifest's central differences of a ``gradient``, did not know. Without one, by the authors' own rounding.
    """
    if known is None:
        return ROUNDINGS[dtype] * loss * torch.finfo(dtype).eps * scale
    return ROOM * known + (DIFFERENCES if gradient else EXACT) * scale


def distance(name: str, tensors: tuple[str, ...], got: Tensor, want: Tensor, limit: float) -> Distance:
    """Compare one quantity. NaN is infinitely far. Irreproducible for another shape, or for nothing to compare."""
    if got.shape != want.shape or want.numel() == 0:
        raise Irreproducible(f"{name}: got shape {tuple(got.shape)}, want {tuple(want.shape)} and not empty")
    errors = (got.detach() - want.double()).abs().nan_to_num(nan=torch.inf)
    where = tuple(int(i) for i in torch.unravel_index(errors.argmax(), errors.shape))
    return Distance(name, tensors, errors.max().item(), limit, where)


def size(tensor: Tensor) -> float:
    """The largest absolute value."""
    return tensor.double().abs().max().item()


def stated(vector: Vector, name: str) -> float | None:
    """The distance from float64 that the manifest states for a recorded tensor; None if it states none."""
    told = vector.verification.get(name)
    return float(told["max_abs"]) if isinstance(told, dict) and "max_abs" in told else None


def as_recorded(vector: Vector, name: str, got: Tensor, *, terms: float = 0.0) -> Distance:
    """A recorded tensor beside what was recomputed. ``terms``: the size of what a gradient is summed from."""
    want = vector.tensors[name]
    gradient = name.startswith("grad.")
    told = vector.verification.get(name)
    scale = max(size(want), terms, float(told.get("scale", 0.0)) if isinstance(told, dict) else 0.0)
    dtype = want.dtype if want.is_floating_point() else torch.float32
    return distance(name, (name,), got, want, limit(scale, dtype, stated(vector, name), gradient=gradient))


def same_indices(name: str, got: list[int], want: Tensor) -> Distance:
    """Integers must be equal, in their order."""
    wrong = [i for i, (a, b) in enumerate(zip(got, want.tolist())) if a != b]
    error = float(len(wrong)) if len(got) == len(want) else torch.inf
    return Distance(name, (name,), error, 0.0, (wrong[0],) if wrong else ())
