"""What a deliberately wrong transcription is, and how to make one by changing one thing of a right one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from refs.golden_vectors import Vector
from refs.reproduce.distance import Distance
from refs.reproduce.layer import layer, start, untrained
from refs.transcriptions.registry import of
from refs.transcriptions.transcription import Effective

Tensors = Mapping[str, Tensor]
Fits = Callable[[Vector], bool]
Run = Callable[[Vector], Iterable[Distance]]


@dataclass(frozen=True)
class Mistake:
    """``name`` is the mistake. ``refuted_by``: on each of these vectors some distance must be beyond its limit."""

    name: str
    refuted_by: Fits
    run: Run


def other_formula(weight: Callable[[Tensors, Tensor, Any], Tensor]) -> Run:
    """The layer with another effective weight."""

    def run(vector: Vector) -> Iterable[Distance]:
        right = of(vector)

        def effective(t: Tensors, W: Tensor, b: Tensor | None, c: Any) -> tuple[Tensor, Tensor | None]:
            return weight(t, W, c), right.effective(t, W, b, c)[1]

        return layer(vector, replace(right, effective=effective))

    return run


def other_tensors(change: Callable[[Tensors], Tensors]) -> Run:
    """The layer with tensors changed on their way in."""

    def run(vector: Vector) -> Iterable[Distance]:
        right: Effective = of(vector).effective
        return layer(vector, replace(of(vector), effective=lambda t, W, b, c: right({**t, **change(t)}, W, b, c)))

    return run


def other_config(**changes: Any) -> Run:
    """The layer with its configuration changed; a function gets the right value."""

    def run(vector: Vector) -> Iterable[Distance]:
        right: Effective = of(vector).effective
        return layer(vector, replace(of(vector), effective=lambda t, W, b, c: right(t, W, b, changed(c, changes))))

    return run


def other_start(initial: Callable[..., Tensors]) -> Run:
    """Another start; ``initial`` gets the right one first."""

    def run(vector: Vector) -> Iterable[Distance]:
        right = of(vector)
        return start(vector, replace(right, initial=lambda *a, **k: initial(right.initial, *a, **k)))

    return run


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """The configuration with these fields replaced."""
    return replace(config, **{k: v(getattr(config, k)) if callable(v) else v for k, v in changes.items()})


def vectors_of(*variants: str, **config: Any) -> Fits:
    """Vectors of these variants with these values in their configuration; a tuple offers several."""

    def fits(vector: Vector) -> bool:
        return vector.variant in variants and all(
            vector.config[key] in (value if isinstance(value, tuple) else (value,)) for key, value in config.items()
        )

    return fits


def moved(fits: Fits) -> Fits:
    """Those of them that are not in the state of their start."""
    return lambda vector: fits(vector) and not untrained(vector)


def with_tensor(name: str, fits: Fits) -> Fits:
    """Those of them that record this tensor."""
    return lambda vector: fits(vector) and name in vector.tensors


def with_bias(vector: Vector) -> Iterable[Distance]:
    """The layer with the bias it was given."""
    right: Effective = of(vector).effective
    return layer(vector, replace(of(vector), effective=lambda t, W, b, c: (right(t, W, b, c)[0], b)))
