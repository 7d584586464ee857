"""Have the cases run: in one child process without pytest, or through pytest with xdist. Neither decides anything."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance.running import evidence
from conformance.running.environment import environment
from conformance.running.evidence import Evidence

CASE_SECONDS = 60.0
"""A case that takes longer hangs. The first one may also import peft."""

DRIVER = Path(__file__).with_name("pytest_driver.py")
NEEDLESS = tuple(word for name in ("python", "logging", "warnings") for word in ("-p", f"no:{name}"))
"""What pytest does around each test and nobody looks at here; thousands of short cases feel it."""


def in_a_child(
    names: Sequence[str],
    case: str | None,
    on_finding: Callable[[int], None],
    *,
    entries: str | None = None,
    limit: float = CASE_SECONDS,
    workers: int = 1,
) -> Evidence:
    """Run the cases in a child process; a child that dies or is silent for ``limit`` seconds leaves gaps, no more.

    ``entries``: ``MODULE:ATTRIBUTE`` of whom to audit instead of the roster. ``workers``: how many processes the child
    makes of itself.
    """
    command = [sys.executable, "-m", "conformance.running.worker", *names]
    command += [*(["--case", case] if case else []), *(["--entries", entries] if entries else [])]
    command += [f"--workers={workers}"]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace", env=_environment())
    lines: queue.Queue[str | None] = queue.Queue()
    complaints: list[str] = []
    readers = [
        threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True),
        threading.Thread(target=lambda: complaints.extend(child.stderr or []), daemon=True),
    ]
    for reader in readers:
        reader.start()
    rows = []
    broken = ""
    while True:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            child.kill()
            broken = f"a case hung for more than {limit:g} s"
            break
        if line is None:
            break
        try:
            rows.append(json.loads(line))
        except ValueError:  # half a line, from a child that died while it wrote
            broken = "the process that ran the cases died while it answered"
            child.kill()
            break
        on_finding(len(rows) - 1)
    status = child.wait()
    readers[1].join(timeout=5)
    gathered = evidence.gather(rows)
    if not broken and status != 0:
        # A signal has a negative status, and its number differs between machines' shells; the sign is enough.
        broken = (
            "the process that ran the cases crashed"
            if status < 0
            else f"the process that ran the cases failed ({status})"
        )
        sys.stderr.writelines(complaints[-8:])
    return Evidence(gathered.findings, broken or gathered.broken)


def through_pytest(
    file: Path, *, workers: int, entries: str | None = None, limit: float = CASE_SECONDS, extra: Sequence[str] = ()
) -> Evidence:
    """Run every case through pytest with ``workers`` xdist workers.

    The evidence goes to a file of this run's own, so that another run in the same folder cannot be read in its place;
    when it is read, it takes the name ``file``, which shows the last run.

    pytest's own exit status is not looked at: a test that did not run shows as evidence that is not there. Cases are
    dealt out one by one: xdist's schedulers by group lose all that is left when two workers crash together.
    """
    nonce = evidence.new_nonce()
    own = evidence.place_of(file, nonce)
    command = [
        *(sys.executable, "-m", "pytest", str(DRIVER), f"--evidence={own}", f"--nonce={nonce}"),
        *("-p", "conformance.running.pytest_plugin", "-p", "conformance.running.pytest_driver"),
        *([f"--entries={entries}"] if entries else []),
        *("-p", "xdist", "-p", "pytest_timeout", *NEEDLESS),
        *("-c", os.devnull, f"--rootdir={DRIVER.parent}", "-p", "no:cacheprovider", "-q", "--no-header", "-rN"),
        *("-n", str(workers), "--dist", "load", f"--timeout={limit:g}", "--timeout-method=thread"),
        *extra,
    ]
    subprocess.run(command, check=False, env=_environment())
    found = evidence.read(own, nonce)
    evidence.publish(own, file, environment())
    return found


def _environment() -> dict[str, str]:
    """What a child imports is what this process would; the user's pytest settings and plugins stay out of it."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    imports = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return {**os.environ, **imports, "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _pump(stream, lines: queue.Queue[str | None]) -> None:  # type: ignore[no-untyped-def]
    for line in stream:
        lines.put(line)
    lines.put(None)
