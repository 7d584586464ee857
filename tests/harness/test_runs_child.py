"""Whole runs in one child process: what dies, hangs or leaves gives gaps, which the judge sees."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest

from conformance.nouns.entry import Entry
from conformance.nouns.finding import Outcome
from conformance.nouns.verdict import Label
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.running import collect
from conformance.running.collect import in_a_child
from conformance.running.evidence import Evidence, header
from conformance.running.limits import GIVE_UP_AFTER, Deadline
from tests.harness import toys

pytestmark = pytest.mark.integration

HERE = "tests.harness.toys"
SECONDS = 4
"""A case of these toys takes a hundredth of one."""
HEADER = json.dumps(header(""))


def run(which: str, names: tuple[str, ...] = (), limit: float = 60.0, workers: int = 1) -> Evidence:
    """The evidence of a tuple of toys."""
    return in_a_child(names, None, lambda done: None, entries=f"{HERE}:{which}", limit=limit, workers=workers)


def labels(entries: tuple[Entry, ...], found: Evidence) -> list[Label]:
    """What the judge makes of it."""
    return [view.verdict.label for view in report.judged(entries, found)]


def test_a_sound_run() -> None:
    """The child process could never prove anything."""
    steps: list[int] = []
    found = in_a_child((), None, steps.append, entries=f"{HERE}:ONE")
    assert labels(toys.ONE, found) == [Label.CORRECT]
    assert steps == list(range(1, len(make_plan(toys.ONE)) + 1))


@pytest.mark.parametrize(
    ("which", "entries", "broken"),
    [
        ("CRASHING", toys.CRASHING, "the process that ran the cases crashed"),
        ("LEAVING", toys.LEAVING, "the evidence has no footer: the run did not end"),
    ],
)
def test_a_case_that_ends_the_process(which: str, entries: tuple[Entry, ...], broken: str) -> None:
    """A crash, or a quiet exit with status 0, would pass for the end of the run."""
    found = run(which)
    assert found.broken == broken
    assert 0 < len(found.findings) < len(make_plan(entries[:1]))
    assert labels(entries, found) == [Label.UNPROVEN, Label.UNPROVEN]


@pytest.fixture
def light_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The children import an empty package instead of peft, which no toy needs and which takes five seconds."""
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "__init__.py").write_text("")
    real = collect._environment

    def environment() -> dict[str, str]:
        variables = real()
        return {**variables, "PYTHONPATH": os.pathsep.join([str(tmp_path), variables["PYTHONPATH"]])}

    monkeypatch.setattr(collect, "_environment", environment)


@pytest.mark.usefixtures("light_peft")
@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_two_workers_find_what_one_finds() -> None:
    """The gate of a change would say something else than the whole run."""
    one, two = run("ONE"), run("ONE", workers=2)
    assert (two.findings, two.broken) == (one.findings, "")
    assert len(one.findings) == len(make_plan(toys.ONE))


@pytest.mark.usefixtures("light_peft")
@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
@pytest.mark.parametrize(
    ("which", "entries", "broken"),
    [
        ("CRASHING", toys.CRASHING, "the process that ran the cases failed (1)"),
        ("LEAVING", toys.LEAVING, "the evidence has no footer: the run did not end"),
    ],
)
def test_a_case_that_ends_one_of_two_workers(which: str, entries: tuple[Entry, ...], broken: str) -> None:
    """What the other worker found would pass for the whole."""
    found = run(which, workers=2)
    assert found.broken == broken
    for view in report.judged(entries, found):
        assert view.verdict.label is Label.UNPROVEN
        assert ("evidence", broken) in view.verdict.unproven


def errors(found: Evidence) -> list[str]:
    """What is said of the cases that gave no answer."""
    return [f"{f.what}: {f.got}" for f in found.findings.values() if f.outcome is Outcome.ERROR]


@pytest.mark.usefixtures("light_peft")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_hangs(workers: int) -> None:
    """A case that never ends would never be UNPROVEN, or take the cases after it with it."""
    found = run("HUNG", limit=SECONDS, workers=workers)
    assert found.broken == ""
    assert set(found.findings) == {planned.case.id for planned in make_plan(toys.HUNG)}
    assert errors(found) == ["no answer: nothing within 4 s"]
    assert found.findings[f"hanging/{toys.ODD_CASE}"].outcome is Outcome.ERROR


def test_a_variant_that_hangs_in_every_case_is_given_up() -> None:
    """It would cost a minute for each of its cases."""
    steps: list[int] = []
    found = in_a_child((), None, steps.append, entries=f"{HERE}:STUCK", limit=SECONDS)
    plan = [planned.case for planned in make_plan(toys.STUCK)]
    own = sum(case.variant == "stuck" for case in plan)
    given_up = ["not run: stuck given up after 3 cases that hung or crashed"] * (own - GIVE_UP_AFTER)
    assert given_up
    assert errors(found) == ["no answer: nothing within 4 s"] * GIVE_UP_AFTER + given_up
    assert set(found.findings) == {case.id for case in plan}
    assert (steps, steps[-1]) == (sorted(steps), len(plan))


def test_a_run_that_reaches_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured in an hour would be lost, or what was not measured pass."""
    over: list[int] = []

    class AfterThree(Deadline):
        @property
        def left(self) -> float:
            return 0.0 if over else math.inf

    def count(done: int) -> None:
        if done == 3:
            over.append(done)

    monkeypatch.setattr(collect, "Deadline", AfterThree)
    found = in_a_child((), None, count, entries=f"{HERE}:STUCK", minutes=7)
    plan = [planned.case.id for planned in make_plan(toys.STUCK)]
    answered = [case for case, f in found.findings.items() if f.outcome is Outcome.AGREE]
    assert len(answered) >= 3
    assert answered == plan[: len(answered)]
    late = "not run: the run reached its limit of 7 minutes before this case"
    assert errors(found) == [late] * (len(plan) - len(answered))
    assert found.broken == ""
    (_, stuck) = (view.verdict for view in report.judged(toys.STUCK, found))
    assert stuck.label is Label.UNPROVEN
    assert any("the run reached its limit of 7 minutes before this case" in why for _, why in stuck.unproven)


def test_a_run_that_reaches_its_limit_before_it_began() -> None:
    """A run without a single answer would pass for one of which nothing was asked."""
    found = in_a_child((), None, lambda done: None, entries=f"{HERE}:ONE", minutes=0.001)
    assert found.broken == "the run reached its limit of 0.001 minutes before the first case"
    assert labels(toys.ONE, found) == [Label.UNPROVEN]


def test_entries_that_cannot_be_imported() -> None:
    """A run that audits nobody would be whole."""
    found = in_a_child((), None, lambda done: None, entries="no_such_module:ENTRIES")
    assert found.broken == "the process that ran the cases failed (2)"
    assert labels(toys.ONE, found) == [Label.UNPROVEN]


@pytest.mark.parametrize(
    ("said", "broken"),
    [
        ("", "does not start with its header"),
        (HEADER, "has no footer"),
        (HEADER + '\n{"case": "so', "died while it answered"),
        (HEADER + '\nhello\n{"end": 0}', "died while it answered"),
        ('{"evidence": 0, "nonce": ""}\n{"end": 0, "nonce": ""}', "does not start with its header"),
    ],
)
def test_a_child_that_says_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, broken: str
) -> None:
    """Half an answer, or a stray print, would end the judge with a traceback or be passed over."""
    program = tmp_path / "child.py"
    program.write_text(f"print({said!r})" if said else "")
    real = collect.subprocess.Popen
    monkeypatch.setattr(
        collect.subprocess, "Popen", lambda command, **more: real([sys.executable, str(program)], **more)
    )
    assert broken in in_a_child((), None, lambda done: None).broken
