"""What a transcription is: an author's method as one weight and one bias, differentiable, in whatever dtype it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from refs.golden_vectors import Vector
from refs.subject import AS_IS, View

Named = tuple[str, View]
"""The authors' name of a tensor in a golden vector, and how it reads in the formula's layout."""

ORIGINAL: Named = ("W", AS_IS)
RESIDUAL: Named = ("W_res", AS_IS)


class Effective(Protocol):
    """``(tensors, W, bias, config) -> (weight, bias or None)``, so that y = x weight^T + bias.

    ``W`` is the weight that the method leaves in the layer: the original one, or the residual.
    """

    def __call__(
        self, tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: Any, /
    ) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class Transcription:
    """One method as its authors wrote it, with the way from its golden vectors to it.

    ``names``: formula's name -> the authors' name and view. ``base``: where a vector keeps the layer's weight.
    ``read_config``: the method's ``Config`` for a vector. ``parts``: values on the way that vectors record, by the
    vector's name. ``initial``: ``(W, config, inputs=None, mask=None)`` -> the tensors that the start determines, by the
    formula's names, and the layer's new weight as ``W_res``; what is drawn at random is not in it.
    """

    name: str
    variants: tuple[str, ...]
    arxiv: str
    names: Mapping[str, Named]
    base: Named
    read_config: Callable[[Vector], Any]
    effective: Effective
    parts: Callable[[Mapping[str, Tensor], Tensor, Any], Mapping[str, Tensor]] | None = None
    initial: Callable[..., Mapping[str, Tensor]] | None = None
