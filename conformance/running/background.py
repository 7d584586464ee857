"""Let the cases run while this process imports what it needs to judge them, and show how far they are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Self

from conformance.running import children
from conformance.running.evidence import Evidence


class Progress:
    """A counter of findings on standard error, a line for every fiftieth where that is no terminal."""

    def __init__(self) -> None:
        self.total = 0
        self.live = sys.stderr.isatty()

    def start(self, total: int) -> None:
        """Say how much there is to do."""
        self.total = total
        print(f"{total} cases; importing the references takes a few seconds", file=sys.stderr)

    def step(self, done: int) -> None:
        """``done`` findings are here."""
        if self.live:
            print(f"\r{done}/{self.total or '?'}", end="", file=sys.stderr, flush=True)
        elif done and done % 50 == 0:
            print(f"{done}/{self.total or '?'}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.live:
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
