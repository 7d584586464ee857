"""Ctrl-C and SIGTERM while cases run: one line, the right status, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance.running import children

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.integration,
]


def descendants(pid: int) -> list[int]:
    """Processes that are children of a process, and theirs."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) if folder.name.isdecimal() else 0
        except OSError:  # it has ended
            continue
        if parent == pid:
            found += [int(folder.name), *descendants(int(folder.name))]
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(
    ("command", "at_least"),
    [(("audit",), 1), (("run", "--workers=2", "--reports=cards"), 3)],
)
def test_a_run_that_is_stopped(
    tmp_path: Path, command: tuple[str, ...], at_least: int, number: signal.Signals, status: int
) -> None:
    """Children would go on for half a minute, or libraries print what they make of the interruption."""
    arguments = [sys.executable, "-P", "-m", "conformance", *command, "--entries", "tests.harness.toys:STUCK"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    run = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    started: list[int] = []
    until = time.monotonic() + 60
    while len(started) < at_least and time.monotonic() < until:
        time.sleep(0.1)
        started = descendants(run.pid)
    assert len(started) >= at_least
    run.send_signal(number)
    _, told = run.communicate(timeout=30)
    gone = time.monotonic() + 2
    while any(map(alive, started)) and time.monotonic() < gone:
        time.sleep(0.02)
    assert [pid for pid in started if alive(pid)] == []
    assert run.returncode == status
    lines = told.decode().splitlines()
    assert lines[-1] == f"conformance: interrupted by {number.name}; no card was touched"
    assert "Traceback" not in told.decode()
    assert not (tmp_path / "cards").exists()


def test_what_is_being_written_is_written_whole(tmp_path: Path) -> None:
    """An interruption would leave some cards of this run and some of the last one."""
    file = tmp_path / "done"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from conformance.running.children import ended_on_signals, held\n"
        "with ended_on_signals():\n"
        "    with held():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        f"        Path({str(file)!r}).write_text('whole')\n"
        "    print('still here')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "conformance: interrupted by SIGTERM; the cards are written\n"
    assert file.read_text() == "whole"


def test_a_child_is_ended_with_all_that_it_started() -> None:
    """A worker of a worker would go on."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    child = children.start([sys.executable, "-c", program])
    until = time.monotonic() + 20
    while not (below := descendants(child.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert below
    children.end_all()
    gone = time.monotonic() + 5
    while any(map(alive, [child.pid, *below])) and time.monotonic() < gone:
        time.sleep(0.02)
    assert [pid for pid in (child.pid, *below) if alive(pid)] == []
