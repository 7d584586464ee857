"""Let the cases run while this process imports what it needs to judge them, and show how far they are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Self

from conformance.running import children
from conformance.running.evidence import Evidence
from conformance.running.progress import Bar


class Progress:
    """How many findings are here, and how long the rest takes: a bar on standard error, ten lines where that is no
    terminal.
    """

    def __init__(self) -> None:
        self.done = 0
        self.bar: Bar | None = None

    def start(self, total: int) -> None:
        """Say how much there is to do."""
        print(f"{total} cases; importing the references takes a few seconds", file=sys.stderr)
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
