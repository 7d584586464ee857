"""Let the cases run while this process imports what it needs to judge them, and show how far they are."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Self, TextIO

from conformance.running import children
from conformance.running.evidence import Evidence

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


class Progress:
    """How many findings are here, and how long the rest takes: a bar on standard error, ten lines where that is no
    terminal.
    """

    def __init__(self) -> None:
        self.done = 0
        self.bar: Bar | None = None

    def start(self, total: int, told: str = "") -> None:
        """Say how much there is to do, ``told``: in other words than the number."""
        print(f"{told or f'{total} cases'}; importing the references takes a few seconds", file=sys.stderr)
        self.bar = Bar("audit", total) if total else None

    def step(self, done: int) -> None:
        """``done`` findings are here."""
        before, self.done = self.done, done
        if self.bar is not None and done > before:
            if not before:
                self.bar.begin()  # the import does not count for the estimate
            self.bar.step(by=done - self.bar.done)

    def end(self) -> None:
        """Leave the line, where it is not full."""
        if self.bar is not None and self.bar.live and self.bar.done < self.bar.total:
            print(file=sys.stderr)


class Background:
    """A call that runs while this thread imports what it needs to judge.

    Leaving the context waits for it: a process that were left behind would go on writing where the next run reads.
    Leaving it by an error ends the call's children first, so that a mistyped name need not wait for them.
    """

    def __init__(self, call: Callable[[], Evidence]) -> None:
        self._found: Evidence | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        while kind is not None and self._thread.is_alive():
            children.end_all()  # again and again: the call may be about to start one
            self._thread.join(timeout=0.05)
        self._thread.join()

    def _run(self, call: Callable[[], Evidence]) -> None:
        self._found = call()

    def result(self) -> Evidence:
        """Wait for it. A call that raised leaves evidence that cannot be trusted."""
        self._thread.join()
        return self._found or Evidence({}, "the run did not end")
