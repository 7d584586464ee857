"""A bar on a terminal, lines elsewhere: how far a long run is, and how long it still takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 24
LINES = 10
"""Where nothing can be overwritten, so many lines are written in all."""


class Bar:
    """``bar.step("loss 1.23")`` after each of ``total`` parts."""

    def __init__(
        self,
        what: str,
        total: int,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        quiet: bool = False,
        live: bool | None = None,
    ) -> None:
        """``live``: whether one line is written over and over (as on a terminal, unless it is given)."""
        self.what, self.total, self.done, self.quiet = what, total, 0, quiet
        self.out = sys.stderr if out is None else out
        self.live = self.out.isatty() if live is None else live
        self.clock, self.start = clock, clock()

    def begin(self) -> None:
        """What was done until now does not count for the estimate."""
        self.start = self.clock()

    def step(self, told: str = "", by: int = 1) -> None:
        """One part more is done, or several."""
        before, self.done = self.done, self.done + by
        if self.quiet:
            return
        last = self.done >= self.total
        if self.live:
            print(f"\r\033[K{self.line(told)}", end="\n" if last else "", file=self.out, flush=True)
        elif last or before * LINES // self.total != self.done * LINES // self.total:
            print(self.line(told), file=self.out, flush=True)

    def line(self, told: str) -> str:
        """What is shown now."""
        share = min(1.0, self.done / self.total)
        full = round(WIDTH * share)
        spent = self.clock() - self.start
        left = spent * (1 - share) / share if share else 0.0
        when = f"{_time(left)} left" if share < 1 else f"took {_time(spent)}"
        bar = "#" * full + "." * (WIDTH - full)
        return f"{self.what} [{bar}] {self.done}/{self.total}, {when}{', ' if told else ''}{told}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02d} h"
