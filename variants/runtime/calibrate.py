"""Run the original model over calibration batches and gather, per target layer, what its inputs look like."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from variants.runtime.errors import AdapterError
from variants.runtime.layers.run import run_as_it_is
from variants.runtime.numerics.finite import all_finite


class Statistic(Protocol):
    """What a variant gathers about a layer's inputs, fed in rows of any number at a time.

    Layers whose statistics have an equal ``share_key`` (not None) and that see the very same input tensors share one
    object, so that q, k and v cost one accumulation and not three.
    """

    share_key: Any

    def add(self, rows: Tensor) -> None:
        """Take in ``rows: (n, d_in)``."""


class Moments:
    """Mean and second moments of the rows, streamed in float64.

        n, mean = (1/n) sum x,  covariance = (1/n) sum (x - mean)(x - mean)^T,  second = (1/n) sum x x^T

    Sums are taken about the first batch's mean, so that a mean far from zero does not cancel the covariance away.
    Memory: d_in^2 float64 per distinct input.
    """

    def __init__(self, d_in: int) -> None:
        self.share_key: Any = ("moments", d_in)
        self.n = 0
        self._about: Tensor | None = None
        self._sum = torch.zeros(d_in, dtype=torch.float64)
        self._gram = torch.zeros(d_in, d_in, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take in ``rows: (n, d_in)``."""
        rows = rows.detach().to("cpu", torch.float64)
        if not len(rows):
            return
        if self._about is None:
            self._about = rows.mean(dim=0)
        rows = rows - self._about
        self.n += len(rows)
        self._sum += rows.sum(dim=0)
        self._gram.addmm_(rows.T, rows)

    @property
    def mean(self) -> Tensor:
        """``(d_in,)``."""
        return self._shift + (0 if self._about is None else self._about)

    @property
    def covariance(self) -> Tensor:
        """Centred, divided by n: ``(d_in, d_in)``."""
        return self._gram / self.n - torch.outer(self._shift, self._shift)

    @property
    def second(self) -> Tensor:
        """E[x x^T], not centred: ``(d_in, d_in)``."""
        return self.covariance + torch.outer(self.mean, self.mean)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of ``second``, ascending, and eigenvectors as columns, for all layers that share."""
        values, E = torch.linalg.eigh(self.second)
        return values, E

    @property
    def _shift(self) -> Tensor:
        return self._sum / self.n


def gather(
    model: nn.Module, layers: Mapping[str, nn.Module], make: Callable[[nn.Module], Statistic], batches: Iterable[Any]
) -> dict[str, Statistic]:
    """One statistic per layer, by name, over all batches.

    A batch is a mapping (``model(**batch)``), a tuple or list (``model(*batch)``), or one tensor. Where a mapping has
    an ``attention_mask``, rows of masked-out tokens are left out. The model runs as it is now, in eval mode and without
    gradients; its training flags are put back, and its quantised layers left as they are. ``AdapterError`` when there
    is no batch or a layer saw no rows.
    """
    statistics = _shared_start(layers, make)
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    handles = [
        layer.register_forward_pre_hook(_collector(seen[name]), with_kwargs=True) for name, layer in layers.items()
    ]
    try:
        run_as_it_is(
            model,
            _iterated(batches),
            "calibration",
            lambda batch, number: _take_in(statistics, seen, _mask_of(batch), number),
        )
    finally:
        for handle in handles:
            handle.remove()
    return statistics


def _shared_start(layers: Mapping[str, nn.Module], make: Callable[[nn.Module], Statistic]) -> dict[str, Statistic]:
    """All layers that may share start out sharing; ``_take_in`` parts those that see different inputs."""
    by_key: dict[Any, Statistic] = {}
    made = {}
    for name, layer in layers.items():
        statistic = make(layer)
        key = statistic.share_key if statistic.share_key is not None else ("own", name)
        made[name] = by_key.setdefault(key, statistic)
    return made


def _take_in(statistics: dict[str, Statistic], seen: dict[str, list[Tensor]], mask: Tensor | None, number: int) -> None:
    groups: dict[int, dict[tuple[int, ...], list[str]]] = {}
    for name, inputs in seen.items():
        groups.setdefault(id(statistics[name]), {}).setdefault(tuple(map(id, inputs)), []).append(name)
    for by_input in groups.values():
        parts = list(by_input.values())
        for part in parts[1:]:
            own = copy.deepcopy(statistics[part[0]])
            statistics.update(dict.fromkeys(part, own))
        for part in parts:
            for x in seen[part[0]]:
                statistics[part[0]].add(_rows(x, mask, part[0], number))
    for inputs in seen.values():
        inputs.clear()


def _rows(x: Tensor, mask: Tensor | None, name: str, number: int) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    if mask is not None:
        if mask.numel() != len(rows):
            raise AdapterError(
                got=f"{len(rows)} rows at {name} and an attention_mask of shape {tuple(mask.shape)}",
                want="one mask entry per row",
                where=f"calibration batch {number}",
                fix="Pass batches without attention_mask, or leave this layer out.",
            )
        rows = rows[mask.reshape(-1).to(rows.device) != 0]
    if not all_finite(rows):
        raise AdapterError(
            got=f"NaN or infinity in the inputs of {name}",
            want="finite activations",
            where=f"calibration batch {number}",
            fix="Check the batch and the base model.",
        )
    return rows


def _collector(into: list[Tensor]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def collect(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # nn.Linear calls it ``input``, other linear-like layers otherwise.
        into.append(args[0] if args else kwargs["input"] if "input" in kwargs else next(iter(kwargs.values())))

    return collect


def _iterated(batches: Iterable[Any]) -> Iterable[Any]:
    try:
        return iter(batches)
    except TypeError as error:
        raise AdapterError(
            got=f"a {type(batches).__name__}",
            want="batches, one after the other",
            where="calibration",
            fix="Pass a list or another iterable.",
        ) from error


def _mask_of(batch: Any) -> Tensor | None:
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    return mask if isinstance(mask, Tensor) else None
