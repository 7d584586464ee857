"""Run the audit on one emulated machine and compare what it rendered with what is committed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from machines import copies
from machines.machine import Allowed, CannotRun, Machine, Place

AUDIT = (sys.executable, "-m", "conformance", "run")
FLOATS = ("tests/refs", "tests/variants", "tests/runtime/test_merge.py")
"""The tests that compare floats."""
TESTS = (sys.executable, "-m", "pytest", "-n", "2", *FLOATS)
START = Path(__file__).with_name("start")
HOOKS_FOLDER = START.with_name("hooks")
WITNESSES = Path(__file__).with_name("witnesses.py")
ANSWERED = (0, 1)
"""Exit statuses of an audit that came to its end: the gate is open, or closed."""


class Outcome(Enum):
    """How a row ended. Only the first three are passes."""

    SAME = "same bytes"
    ALLOWED = "differs, allowed"
    PASSED = "tests pass"
    DIFFERS = "differs"
    FAILED = "failed"
    COULD_NOT_RUN = "could not run"


@dataclass(frozen=True)
class Result:
    """``files``: what differs. ``why``: of a row that is no pass, or the exception's cause. ``note``: how it ran."""

    machine: Machine
    outcome: Outcome
    files: tuple[str, ...] = ()
    why: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.outcome in (Outcome.SAME, Outcome.PASSED):
            text = self.outcome.value
        elif self.files:
            one = len(self.files) == 1
            text = f"{len(self.files)} file{'' if one else 's'} differ{'s' if one else ''}: {', '.join(self.files)}"
            text += f"; allowed: {self.why}" if self.outcome is Outcome.ALLOWED else ""
        else:
            text = f"{self.outcome.value}: {self.why}"
        return f"{text} ({self.note})" if self.note else text


@dataclass(frozen=True)
class Tree:
    """What is audited: a checkout of git, a commit of it, and the reports of that commit."""

    root: Path
    commit: str
    reports: Mapping[str, bytes]

    @classmethod
    def at(cls, root: Path, revision: str) -> Tree:
        """ValueError where there is no such revision, or no reports in it."""
        commit = copies.commit_of(root, revision)
        reports = copies.committed_reports(root, commit)
        if not reports:
            raise ValueError(f"{revision} in {root}: got no file in reports/, want committed reports to compare with.")
        return cls(root, commit, reports)


def run(
    machine: Machine,
    tree: Tree,
    out: Path,
    *,
    allowed: Sequence[Allowed] = (),
    audit: Sequence[str] = AUDIT,
    tests: bool = False,
    limit: float = 1800.0,
) -> Result:
    """Audit a copy of the tree on this machine. ``out`` gets the audit's log, and a diff if there is a difference.

    ``tests``: the command runs tests instead, and its exit status alone decides. Writes nothing else outside a
    temporary folder. Does not raise for what goes wrong in the copy.
    """
    out.mkdir(parents=True, exist_ok=True)
    log, diff = out / f"{machine.name}.log", out / f"{machine.name}.diff"
    diff.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="machine-", ignore_cleanup_errors=True) as scratch:
        place = _place(machine, Path(scratch).resolve())
        try:
            copies.clone(tree.root, tree.commit, place.checkout, shallow=machine.shallow)
            if machine.prepare:
                machine.prepare(place)
            _look(machine, place)
        except (CannotRun, ValueError, OSError) as error:
            return Result(machine, Outcome.COULD_NOT_RUN, why=_line(str(error)), note=place.note)
        trace = place.scratch / "trace"
        command = [*place.prefix, *audit, *(() if tests else machine.arguments)]
        status = _audit(command, place, log, limit)
        if status is None:
            return Result(machine, Outcome.FAILED, why=f"it took longer than {limit:g} s", note=place.note)
        if machine.hook and len(list(trace.iterdir())) < 2:
            return Result(machine, Outcome.FAILED, why="the start-up hook did not reach the processes of the audit")
        if tests:
            why = "" if status == 0 else f"the tests ended with status {status}: {_last(log)}"
            return Result(machine, Outcome.FAILED if why else Outcome.PASSED, why=why, note=place.note)
        if status not in ANSWERED or not copies.rendered(place.checkout):
            did = "rendered nothing" if status in ANSWERED else "did not come to its end"
            return Result(machine, Outcome.FAILED, why=f"the audit {did} (status {status}): {_last(log)}")
        got = copies.reports_of(place.checkout)
        files = copies.differing(got, tree.reports)
        if files:
            diff.write_text(copies.difference(got, tree.reports), encoding="utf-8")
            cause = next((a.cause for a in allowed if a.machine == machine.name and {*files} <= {*a.files}), "")
            outcome = Outcome.ALLOWED if cause else Outcome.DIFFERS
            return Result(machine, outcome, files, why=cause, note=place.note)
        if status != 0:
            return Result(machine, Outcome.FAILED, why=f"same bytes, but the gate is closed: {_last(log)}")
        return Result(machine, Outcome.SAME, note=place.note)


def _place(machine: Machine, scratch: Path) -> Place:
    environment = {**copies.without_git(os.environ), **machine.environment}
    if machine.hook:
        trace = scratch / "trace"
        trace.mkdir()
        path = os.pathsep.join(filter(None, (str(START), environment.get("PYTHONPATH"))))
        environment |= {"PYTHONPATH": path, "MACHINE_HOOK": machine.hook, "MACHINE_TRACE": str(trace)}
    return Place(scratch, scratch / machine.checkout, environment)


def _look(machine: Machine, place: Place) -> None:
    """CannotRun if the machine is not what it says, or if another copy of the suite would be audited."""
    where = _asked(place, "-c", "import importlib.util as u; print(u.find_spec('conformance').origin)")
    if not Path(where).resolve().is_relative_to(place.checkout):
        raise CannotRun(f"conformance would be imported from {where}, not from the copy")
    for witness, want in machine.witnesses:
        got = _asked(place, "-P", str(WITNESSES), witness)
        if got != want:
            raise CannotRun(f"the emulation does not take here: {witness} is {got!r}, want {want!r}")
    for path in place.scratch.glob("trace/*"):
        path.unlink()


def _asked(place: Place, *arguments: str) -> str:
    command = [*place.prefix, sys.executable, *arguments]
    environment = {**place.environment, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=place.checkout, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"a process of it fails at once: {_line(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode(errors="replace").strip("\r\n")


def _audit(command: Sequence[str], place: Place, log: Path, limit: float) -> int | None:
    """The exit status; None if it took too long. No process of the audit is left behind."""
    with log.open("wb") as said:
        child = subprocess.Popen(
            command,
            cwd=place.checkout,
            env=place.environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=os.name == "posix",
        )
        try:
            return child.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The audit and the workers it started: they share a process group of their own."""
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _last(log: Path) -> str:
    return _line(log.read_text(encoding="utf-8", errors="replace")) or "it said nothing"


def _line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else ""
