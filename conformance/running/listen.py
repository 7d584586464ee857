"""Read what a worker process says, line by line, until it ends, hangs, or the run's time is over."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from conformance.running import children
from conformance.running.evidence import footer
from conformance.running.limits import START_SECONDS, Deadline


@dataclass
class Heard:
    """What was said: header, findings and footer (``rows``), and the ids of the cases that are to come (``plan``).

    ``ending``: ``end``, or ``hung`` or ``limit`` if the process had to be ended. ``broken``: why nothing of it can be
    trusted.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    ending: Literal["end", "hung", "limit"] = "end"
    broken: str = ""
    nonce: str = ""
    """The run's, as in its header."""

    def take(self, row: Any) -> None:
        """One line more."""
        if not isinstance(row, dict):
            raise ValueError(f"got {row!r}, want an object")
        if set(row) == {"plan"}:
            self.plan = [str(case) for case in row["plan"]]
        else:
            self.rows.append(row)

    @property
    def findings(self) -> int:
        """How many there are."""
        return sum("case" in row for row in self.rows)

    def close(self) -> None:
        """Write the footer of what was cut off on purpose: these findings are whole, and others are not missed."""
        self.rows.append(footer(self.nonce, self.findings))


def listen(
    child: subprocess.Popen[str], limit: float, deadline: Deadline, on_finding: Callable[[int], None], *, before: int
) -> Heard:
    """All that a worker says. It is ended when it is silent for ``limit`` seconds, or at the deadline.

    ``on_finding`` gets the number of findings, those ``before`` this process included.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    complaints: list[str] = []
    readers = [
        threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True),
        threading.Thread(target=lambda: complaints.extend(child.stderr or []), daemon=True),
    ]
    for reader in readers:
        reader.start()
    heard = Heard()
    while True:
        try:
            patience = limit if heard.plan else START_SECONDS
            line = lines.get(timeout=max(min(patience, deadline.left), 0.0))
        except queue.Empty:
            _cut(heard, deadline)
            break
        if line is None:
            break
        try:
            heard.take(json.loads(line))
        except ValueError:  # half a line, from a child that died while it wrote
            heard.broken = "the process that ran the cases died while it answered"
            break
        if len(heard.rows) > 1 and "case" in heard.rows[-1]:
            on_finding(before + len(heard.rows) - 1)
    if heard.ending != "end" or heard.broken:
        children.end(child)
        return heard
    status = child.wait()
    children.end(child)  # what it may have left behind
    readers[1].join(timeout=5)
    if status != 0:
        # A signal has a negative status, and its number differs between machines' shells; the sign is enough.
        told = "crashed" if status < 0 else f"failed ({status})"
        heard.broken = f"the process that ran the cases {told}"
        sys.stderr.writelines(complaints[-8:])
    return heard


def _cut(heard: Heard, deadline: Deadline) -> None:
    late = deadline.left <= 0
    if not heard.plan:
        heard.broken = f"{deadline.said if late else f'nothing came for {START_SECONDS:g} s'} before the first case"
        return
    heard.ending = "limit" if late else "hung"
    heard.close()


def _pump(stream, lines: queue.Queue[str | None]) -> None:  # type: ignore[no-untyped-def]
    for line in stream:
        lines.put(line)
    lines.put(None)


def stream_of(file: Path) -> Path:
    """Where the findings of a pytest run that has not ended yet are, in the order in which they came."""
    return file.with_name(file.name + ".part")
