"""Have the cases run: in one child process without pytest, or through pytest with xdist. Neither decides anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance.running import children, evidence
from conformance.running.environment import environment
from conformance.running.evidence import Evidence
from conformance.running.limits import CASE_SECONDS, GIVE_UP_AFTER, Deadline, given_up, hung, too_late
from conformance.running.listen import Heard, listen, stream_of

DRIVER = Path(__file__).with_name("pytest_driver.py")
NEEDLESS = tuple(word for name in ("python", "logging", "warnings") for word in ("-p", f"no:{name}"))
"""What pytest does around each test and nobody looks at here; thousands of short cases feel it."""
LEGEND = """\
One sign per case: . agrees  D differs  n the reference cannot answer  E could not be asked  F crashed or hung
(the judge decides afterwards what a difference means: declared ones and the reference's own faults are D, too)"""
STDERR = 2
"""The descriptor: what a child inherits."""
SCRATCH = 1 << 30
"""Bytes that must be free; the files of a case take a few hundred thousand."""
MANY = 10_000
"""Workers that may be lost: how many cases of a variant may, ``GIVE_UP_AFTER`` says."""


def in_a_child(
    names: Sequence[str],
    case: str | None,
    on_finding: Callable[[int], None],
    *,
    entries: str | None = None,
    limit: float = CASE_SECONDS,
    workers: int = 1,
    minutes: float | None = None,
) -> Evidence:
    """Run the cases in a child process, in the order of the plan. ``on_finding`` gets the number of findings so far.

    A child that dies leaves gaps. One that has begun and then is silent for ``limit`` seconds is ended, and a new one
    goes on after the case that hung; after ``GIVE_UP_AFTER`` of these the rest of that variant is not asked. After
    ``minutes`` the rest of the run is not. A finding of outcome ERROR stands for each such case and says why.

    ``entries``: ``MODULE:ATTRIBUTE`` of whom to audit instead of the roster. ``workers``: how many processes the child
    makes of itself.
    """
    deadline = Deadline(minutes)
    command = [sys.executable, "-m", "conformance.running.worker", *names]
    command += [*(["--case", case] if case else []), *(["--entries", entries] if entries else [])]
    command += [f"--workers={workers}"]
    found = Evidence({})
    start, hangs = 0, dict[str, int]()
    while True:
        given = [name for name, n in hangs.items() if n >= GIVE_UP_AFTER]
        child = children.start(
            [*command, f"--start={start}", *(f"--without={name}" for name in given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
        )
        heard = listen(child, limit, deadline, on_finding, before=len(found.findings))
        part = evidence.gather(heard.rows)
        found = Evidence({**found.findings, **part.findings}, heard.broken or part.broken)
        open_cases = [each for each in heard.plan if each not in found.findings]
        if found.broken or heard.ending == "end":
            return found
        if heard.ending == "limit":
            print(f"\nconformance: {deadline.said}; the rest is UNPROVEN", file=sys.stderr)
            return Evidence({**found.findings, **too_late(open_cases, deadline)})
        stuck = open_cases[0]
        variant = stuck.split("/")[0]
        hangs[variant] = hangs.get(variant, 0) + 1
        answers = [hung(stuck, limit)]
        if hangs[variant] >= GIVE_UP_AFTER:
            answers += [given_up(each) for each in open_cases[1:] if each.startswith(f"{variant}/")]
        found = Evidence({**found.findings, **{each.case: each for each in answers}})
        on_finding(len(found.findings))
        if len(answers) == len(open_cases):
            return found
        start = heard.plan.index(stuck) + 1


def through_pytest(
    file: Path,
    *,
    workers: int,
    entries: str | None = None,
    limit: float = CASE_SECONDS,
    extra: Sequence[str] = (),
    minutes: float | None = None,
    aside: bool = False,
) -> Evidence:
    """Run every case through pytest with ``workers`` xdist workers.

    The evidence goes to a file of this run's own, so that another run in the same folder cannot be read in its place;
    when it is read, it takes the name ``file``, which shows the last run.

    pytest's own exit status is not looked at: a test that did not run shows as evidence that is not there. Cases are
    dealt out one by one: xdist's schedulers by group lose all that is left when two workers crash together. After
    ``minutes`` pytest is ended; what arrived until then counts, and a finding that says so stands for each other case.
    ``aside``: pytest writes to standard error, so that standard output is free for data.
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
        f"--max-worker-restart={MANY}",
        *extra,
    ]
    deadline = Deadline(minutes)
    print(LEGEND, file=sys.stderr, flush=True)
    child = children.start(command, env=_environment(), stdout=STDERR if aside else None)
    try:
        child.wait(timeout=None if minutes is None else max(deadline.left, 0.0))
        children.end(child)
        found = evidence.read(own, nonce)
    except subprocess.TimeoutExpired:
        children.end(child)
        print(f"\nconformance: {deadline.said}; the rest is UNPROVEN", file=sys.stderr)
        found = _arrived(own, nonce, deadline)
    evidence.publish(own, file, environment())
    return found


def _arrived(file: Path, nonce: str, deadline: Deadline) -> Evidence:
    """What a run that was ended has left, written down as it came."""
    heard = Heard(nonce=nonce)
    for line in stream_of(file).read_text(encoding="utf-8").splitlines() if stream_of(file).is_file() else ():
        try:
            heard.take(json.loads(line))
        except ValueError:  # half a line
            break
    if not heard.plan:
        return Evidence({}, f"{deadline.said} before the first case")
    heard.close()
    part = evidence.gather(heard.rows, nonce)
    rest = too_late((case for case in heard.plan if case not in part.findings), deadline)
    found = Evidence({**part.findings, **rest}, part.broken)
    evidence.write(file, found.findings.values(), nonce=nonce, environment=environment())
    return found


def _scratch(memory: Path = Path("/dev/shm")) -> dict[str, str]:
    """Files that a case writes, reads and deletes stay in memory, where a file system for that has room; TMPDIR wins.

    A disk takes milliseconds to flush and delete each of them, and a run has thousands.
    """
    try:
        roomy = shutil.disk_usage(memory).free >= SCRATCH and os.access(memory, os.W_OK | os.X_OK)
    except OSError:  # elsewhere than on Linux, there is none
        roomy = False
    return {"TMPDIR": str(memory)} if roomy else {}


def _environment() -> dict[str, str]:
    """What a child imports is what this process would; the user's pytest settings and plugins stay out of it."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    imports = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return {
        **_scratch(),
        **os.environ,
        **imports,
        "PYTEST_ADDOPTS": "",
        "PYTEST_PLUGINS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
