"""What a user does with an adapter apart from calling it: detach, save, load, merge, keep two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from refs.settings import Settings
from refs.subject import Subject


@dataclass(frozen=True)
class Lifecycle:
    """One implementation's own functions. What it does not offer is None, and is not asked about.

    ``detach(subject)`` takes the adapter off. ``save(subject, path)`` writes it; ``load(layer, path)`` puts it on a
    plain layer as the layer stands (its training flag included). ``merge(subject)`` and ``unmerge(subject)`` fold it
    into the weights and back. ``pair(layers, settings)`` puts two adapters of the method on two layers in a row.
    ``to_peft(subject, folder)`` writes it as peft does, ``from_peft(layer, folder)`` loads what peft wrote.
    ``several(layers, settings)`` puts one adapter on layers that see one input, by one call, and gives each one's
    tensors themselves.
    ``steer(subject, coeff)`` sets the coefficient at run time, for a method that has one.
    """

    detach: Callable[[Subject], None] | None = None
    save: Callable[[Subject, Path], None] | None = None
    load: Callable[[nn.Linear, Path], Subject] | None = None
    merge: Callable[[Subject], None] | None = None
    unmerge: Callable[[Subject], None] | None = None
    to_peft: Callable[[Subject, Path], None] | None = None
    from_peft: Callable[[nn.Linear, Path], Subject] | None = None
    steer: Callable[[Subject, float], None] | None = None
    several: Callable[[tuple[nn.Linear, ...], Settings], tuple[dict[str, Tensor], ...]] | None = None
    pair: Callable[[tuple[nn.Linear, nn.Linear], Settings], Pair] | None = None


@dataclass(frozen=True)
class Pair:
    """Two adapters on one model of two layers: each as a subject, and what can be done to one of them."""

    model: nn.Module
    subjects: tuple[Subject, Subject]
    detach: Callable[[int], None]
    save: Callable[[int, Path], None]
    load: Callable[[tuple[nn.Linear, nn.Linear], tuple[Path, Path]], Pair]
    """Load both onto a plain model, from two files."""
