"""Times of forward and backward passes, side by side: every round asks each side once, so that what the machine does
meanwhile hits them all. On a GPU the clock is that of its events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from conformance.cost.counts import clear
from conformance.cost.memory import collected
from refs.subject import Subject

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ROUNDS = 15
FEW = 5
"""Rounds of a side of which one call takes longer than ``SLOW`` seconds."""
SLOW = 1.0
SAMPLE = 4e-3
"""Seconds that one sample takes at least: a shorter call is repeated within it."""
MOST = 500
"""Repeats in a sample, at most."""


@dataclass(frozen=True)
class Spread:
    """First quartile, median and third quartile of so many rounds."""

    low: float
    median: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """ValueError for fewer than two values: they have no spread."""
        if len(values) < 2:
            raise ValueError(f"quartiles: got {len(values)} values, want at least 2")
        low, median, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median, high, len(values))


@dataclass(frozen=True)
class Passes:
    """Seconds of one forward and of one backward pass, a pair per round."""

    forward: tuple[float, ...]
    backward: tuple[float, ...]

    @property
    def both(self) -> tuple[float, ...]:
        """Seconds of the two together."""
        return tuple(f + b for f, b in zip(self.forward, self.backward, strict=True))


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Round by round, so that a slow moment of the machine hits both."""
    return Spread.of([a / b for a, b in zip(of, to)])


def above(of: Sequence[float], base: Sequence[float]) -> Spread:
    """The difference round by round, in microseconds."""
    return Spread.of([1e6 * (a - b) for a, b in zip(of, base)])


def interleaved(sides: Mapping[str, Subject], x: Tensor, *, decode: bool = False) -> dict[str, Passes]:
    """Both passes of every side, or with ``decode`` the forward alone, in inference mode and eval mode."""
    calls = {name: _Call(subject, x, decode) for name, subject in sides.items()}
    taken = _by_turns(calls)
    return {name: Passes(tuple(f for f, _ in rows), tuple(b for _, b in rows)) for name, rows in taken.items()}


def alternating(calls: Mapping[str, Callable[[], object]], device: str) -> dict[str, tuple[float, ...]]:
    """Seconds of each call, round by round."""
    taken = _by_turns({name: _Whole(call, device) for name, call in calls.items()})
    return {name: tuple(rows) for name, rows in taken.items()}


class _Sampled(Protocol[T_co]):
    rounds: int

    def warm_up(self) -> None: ...

    def sample(self) -> T_co: ...


def _by_turns(calls: Mapping[str, _Sampled[T]]) -> dict[str, list[T]]:
    taken: dict[str, list[T]] = {name: [] for name in calls}
    with collected():
        for call in calls.values():
            call.warm_up()
        order = list(calls)
        for number in range(max(call.rounds for call in calls.values())):
            for name in order if number % 2 else reversed(order):
                if number < calls[name].rounds:
                    taken[name].append(calls[name].sample())
    return taken


class _Call:
    """One side's call, with how often it is repeated."""

    def __init__(self, subject: Subject, x: Tensor, decode: bool) -> None:
        self.subject, self.x, self.decode = subject, x, decode
        self.cotangent = torch.ones_like(x)
        self.clock = _clock(x.device.type)
        self.repeats, self.rounds = 1, ROUNDS

    def warm_up(self) -> None:
        """The first calls fill caches; the last of them tells how long a call takes."""
        self.subject.train(not self.decode)
        self.repeats, self.rounds = _plan(lambda: sum(self._once()))

    def sample(self) -> tuple[float, float]:
        """Mean seconds of forward and backward over the repeats."""
        rows = [self._once() for _ in range(self.repeats)]
        return sum(f for f, _ in rows) / len(rows), sum(b for _, b in rows) / len(rows)

    def _once(self) -> tuple[float, float]:
        mark = self.clock.mark
        if self.decode:
            with torch.inference_mode():
                start = mark()
                self.subject(self.x)
                return self.clock.between(start, mark()), 0.0
        clear(self.subject, self.x)
        start = mark()
        y = self.subject(self.x)
        middle = mark()
        torch.autograd.backward(y, self.cotangent)
        end = mark()
        return self.clock.between(start, middle), self.clock.between(middle, end)


class _Whole:
    """A call that is timed as a whole."""

    def __init__(self, call: Callable[[], object], device: str) -> None:
        self.call, self.clock = call, _clock(device)
        self.repeats, self.rounds = 1, ROUNDS

    def warm_up(self) -> None:
        """As above."""
        self.repeats, self.rounds = _plan(self._once)

    def sample(self) -> float:
        """Mean seconds over the repeats."""
        return sum(self._once() for _ in range(self.repeats)) / self.repeats

    def _once(self) -> float:
        start = self.clock.mark()
        self.call()
        return self.clock.between(start, self.clock.mark())


def _plan(once: Callable[[], float]) -> tuple[int, int]:
    """How often a call is repeated in a sample, and for how many rounds; it is called until it is warm."""
    for _ in range(3):
        seconds = once()
        if seconds > SLOW:
            return 1, FEW
    for _ in range(3):
        seconds = min(seconds, once())
    return max(1, min(MOST, round(SAMPLE / seconds))), ROUNDS


def _clock(device: str) -> _CPU | _GPU:
    return _GPU() if device == "cuda" else _CPU()


class _CPU:
    def mark(self) -> Any:
        return time.perf_counter()

    def between(self, start: Any, end: Any) -> float:
        return float(end - start)


class _GPU:
    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
