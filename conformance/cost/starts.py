"""What it costs to put an adapter on a layer: attach, and where the method has them, decomposition and data pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conformance.cost.memory import collected, memory_of
from conformance.cost.points import Point
from conformance.cost.subjects import Contender, layer_at, peft_reference
from conformance.cost.timing import Spread
from refs.calibration import batches
from refs.reference import Live
from refs.subject import Host

ROUNDS = 3
BATCHES = 8
"""Of the point's number of tokens each, for the methods that start from data and can be given them."""


@dataclass(frozen=True)
class Start:
    """One side: ``seconds`` of several starts, and bytes alive at once in one of them."""

    seconds: Spread
    peak: int


Build = Callable[[nn.Linear], object]


def builders(contender: Contender, point: Point) -> dict[str, Build]:
    """What starts each side on a fresh layer: ``ours``, and ``peft`` where it has the method."""
    settings, entry = contender.settings(point), contender.entry
    main = None if entry.method is None else entry.method.main
    if entry.ranks is not None and isinstance(main, Live) and main.ranks is not None:
        ours, theirs = entry.ranks, main.ranks
        rows = _rows(point)
        return {
            "ours": lambda layer: ours(Host(layer), rows, settings),
            "peft": lambda layer: theirs(Host(layer), rows, settings),
        }
    sides: dict[str, Build] = {"ours": lambda layer: entry.build(layer, settings)}
    reference = peft_reference(contender)
    if reference is not None and reference.covers(settings):
        sides["peft"] = lambda layer: reference.build(layer, settings)
    return sides


def starts(contender: Contender, point: Point) -> dict[str, Start]:
    """The start of each side. The time to make the inputs that the entry makes for itself is taken off."""
    sides = builders(contender, point)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    made = _seconds_for_inputs(contender, point)
    with collected():
        for build in sides.values():
            build(layer_at(point))  # imports, and what is computed once
        for _ in range(ROUNDS):
            for side, build in sides.items():
                seconds[side].append(max(_seconds(build, layer_at(point)) - made, 0.0))
    return {side: _measured(build, Spread.of(seconds[side]), layer_at(point)) for side, build in sides.items()}


def _measured(build: Build, seconds: Spread, layer: nn.Linear) -> Start:
    return Start(seconds, memory_of(lambda: build(layer)).peak)


def _seconds(call: Build, layer: nn.Linear) -> float:
    start = time.perf_counter()
    call(layer)
    return time.perf_counter() - start


def _rows(point: Point) -> list[Tensor]:
    """Inputs whose spread falls along the coordinates, so that some directions lead."""
    generator = torch.Generator().manual_seed(point.d)
    spread = torch.arange(1, point.d + 1).float().rsqrt()
    return [spread * torch.randn(point.tokens, point.d, generator=generator) for _ in range(BATCHES)]


def _seconds_for_inputs(contender: Contender, point: Point) -> float:
    kind = contender.settings(point).option("calibration", None)
    if kind is None or contender.entry.ranks is not None:
        return 0.0
    return min(_seconds(lambda _: batches(kind, point.d, torch.float32), nn.Linear(1, 1)) for _ in range(ROUNDS))
