"""Whole runs through pytest: what crashes, hangs, is skipped or deselected is UNPROVEN, and only that."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.judging import gate
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.running import children, evidence
from conformance.running.collect import _arrived, through_pytest
from conformance.running.evidence import Evidence
from conformance.running.limits import GIVE_UP_AFTER, START_SECONDS, Deadline
from conformance.running.listen import stream_of
from conformance.running.pytest_plugin import Gatherer, given_up_of
from tests.harness import toys

pytestmark = pytest.mark.integration

HERE = "tests.harness.toys"
SECONDS = 5.0
"""A case of these toys takes a hundredth of one."""


def verdicts(entries: Sequence[Entry], found: Evidence) -> dict[str, Verdict]:
    """What the judge makes of a run, by name."""
    return {view.name: view.verdict for view in report.judged(entries, found)}


def shut(found: dict[str, Verdict]) -> bool:
    """Whether the gate keeps this out of a project in which nothing was committed."""
    return gate.check(tuple(found.values()), {}, ()).status != 0


def test_a_case_that_never_answers_is_unproven_and_its_neighbours_are_measured(tmp_path: Path) -> None:
    """A case that crashed, hung, was skipped or left its process would have no result, or take the others with it."""
    found = through_pytest(tmp_path / "e.jsonl", workers=2, entries=f"{HERE}:MANY", limit=SECONDS)
    ran = verdicts(toys.MANY, found)
    for name in ("segfault", "hanging", "skipping", "exiting"):
        assert ran[name].label is Label.UNPROVEN
        assert [case for case, _ in ran[name].unproven] == [f"{name}/{toys.ODD_CASE}"], name
    labels = [ran[name].label for name in ("sound", "shifted", "unreferenced")]
    assert labels == [Label.CORRECT, Label.BUGGY, Label.UNPROVEN]
    assert [name for name, verdict in ran.items() if not shut({name: verdict})] == ["sound"]


def test_cases_that_were_deselected(tmp_path: Path) -> None:
    """Deselecting the cases that fail would make a variant CORRECT."""
    gone = f"sound/{toys.ODD_CASE}"
    extra = ["-k", "not influence", "--deselect", f"pytest_driver.py::{gone}"]
    found = through_pytest(tmp_path / "e.jsonl", workers=1, entries=f"{HERE}:ONE", extra=extra)
    (verdict,) = verdicts(toys.ONE, found).values()
    assert verdict.label is Label.UNPROVEN
    missing = [p.case.id for p in make_plan(toys.ONE) if p.case.check == "influence" or p.case.id in gone]
    assert [case for case, _ in verdict.unproven] == [*missing, "influence"]
    assert shut({"sound": verdict})


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_worker_and_two_workers_give_the_same_bytes(tmp_path: Path) -> None:
    """The committed reports would depend on the machine that ran the audit."""
    one, two = (
        through_pytest(tmp_path / f"{workers}.jsonl", workers=workers, entries=f"{HERE}:REAL") for workers in (1, 2)
    )
    for found in (one, two):
        assert (len(found.findings), found.broken) == (len(make_plan(toys.REAL)), "")
    rendered = [report.render(report.judged(toys.REAL, found)) for found in (one, two)]
    assert rendered[0] == rendered[1]


def test_stale_evidence_is_removed_before_the_run(tmp_path: Path, toy_findings: dict[str, Finding]) -> None:
    """A run that cannot even start would be judged by the evidence of the last one."""
    file = tmp_path / "e.jsonl"
    evidence.write(file, toy_findings.values())
    found = through_pytest(file, workers=1, entries="no_such_module:ENTRIES")
    assert found.findings == {}
    rows = [{"evidence": evidence.FORMAT}, {"plan": list(toy_findings)}, *(f.to_json() for f in toy_findings.values())]
    stream_of(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = through_pytest(file, workers=1, entries=f"{HERE}:ONE", minutes=1e-6)
    assert found.findings == {}
    assert "reached its limit" in found.broken
    assert verdicts(toys.ONE, found)["sound"].label is Label.UNPROVEN


def test_what_arrived_before_the_limit_is_judged(tmp_path: Path, toy_findings: dict[str, Finding]) -> None:
    """A run that is ended by force would lose what it measured, or the rest pass for asked."""
    file = tmp_path / "e.jsonl"
    plan = [planned.case.id for planned in make_plan(toys.ONE)]
    rows = [evidence.header("n"), {"plan": plan}, *(toy_findings[case].to_json() for case in plan[:-1])]
    half = '{"case": "so'
    stream_of(file).write_text("".join(json.dumps(row) + "\n" for row in rows) + half)
    found = _arrived(file, "n", Deadline(5))
    assert found.broken == ""
    assert {case: found.findings[case] for case in plan[:-1]} == {case: toy_findings[case] for case in plan[:-1]}
    assert found.findings[plan[-1]].got == "the run reached its limit of 5 minutes before this case"
    assert verdicts(toys.ONE, found)["sound"].label is Label.UNPROVEN
    assert evidence.read(file, "n") == found


def test_a_run_that_was_ended_before_it_had_a_plan(tmp_path: Path) -> None:
    """It would be a run of which nothing was asked."""
    file = tmp_path / "e.jsonl"
    assert _arrived(file, "n", Deadline(5)).broken == "the run reached its limit of 5 minutes before the first case"


def test_a_run_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subject that hangs in every case would hold the run for as long as it has cases."""
    quick = [p.case.id for p in make_plan((toys.QUICK,))]
    waits: list[float] = []
    start = children.start

    def started(*arguments: Any, **more: Any) -> subprocess.Popen[str]:
        """The time is over as soon as the quick cases are through, on however busy a machine."""
        child = start(*arguments, **more)
        real = child.wait

        def wait(timeout: float | None = None) -> int:
            if waits or timeout is None:
                return real(timeout)
            waits.append(timeout)
            until = time.monotonic() + START_SECONDS
            while time.monotonic() < until:
                streams = [path.read_text() for path in tmp_path.glob("*.part")]
                if any(text.count('"case"') >= len(quick) for text in streams):
                    break
                time.sleep(0.05)
            raise subprocess.TimeoutExpired("pytest", timeout)

        monkeypatch.setattr(child, "wait", wait)
        return child

    monkeypatch.setattr(children, "start", started)
    found = through_pytest(tmp_path / "e.jsonl", workers=1, entries=f"{HERE}:STUCK", limit=600, minutes=0.4)
    assert waits == [pytest.approx(24, abs=1)]
    assert found.broken == ""
    plan = [p.case.id for p in make_plan(toys.STUCK)]
    assert set(found.findings) == set(plan)
    late = {case for case, f in found.findings.items() if f.outcome is Outcome.ERROR}
    assert late == set(plan) - set(quick)
    assert {found.findings[case].got for case in late} == {"the run reached its limit of 0.4 minutes before this case"}
    assert verdicts(toys.STUCK, found)["stuck"].label is Label.UNPROVEN


def test_a_variant_that_lost_its_cases_is_given_up_in_every_worker(tmp_path: Path) -> None:
    """It would cost a minute for each of its cases, or take the other variants' cases with it."""
    file = tmp_path / "e.jsonl"
    gathering = Gatherer(file, "n")
    sound, stuck = (p.case.id for p in make_plan(toys.STUCK) if p.case.within == toys.ODD_CASE)
    told = []
    for _ in range(GIVE_UP_AFTER):
        told.append(given_up_of(file))
        for case in (stuck, sound):
            report = pytest.TestReport(f"pytest_driver.py::{case}", ("", 0, ""), {}, "passed", None, "call")
            if case == stuck:
                report.outcome = "failed"  # as xdist says of a test in which its worker died
            gathering.pytest_runtest_logreport(report)
    assert [*told, given_up_of(file)] == [[]] * GIVE_UP_AFTER + [["stuck"]]
    gathering.pytest_sessionfinish()
    assert given_up_of(file) == []


@pytest.mark.slow
def test_a_variant_that_hangs_in_every_case_is_given_up(tmp_path: Path) -> None:
    """It would cost a minute for each of its cases."""
    found = through_pytest(tmp_path / "e.jsonl", workers=2, entries=f"{HERE}:STUCK", limit=SECONDS)
    own = [p.case.id for p in make_plan(toys.STUCK) if p.case.variant == "stuck"]
    given = [case for case in own if case in found.findings and "given up" in found.findings[case].got]
    lost = [case for case in own if case not in found.findings]
    # Two workers: one more may have begun when the third was lost.
    assert GIVE_UP_AFTER <= len(lost) <= GIVE_UP_AFTER + 1
    assert set(given) == set(own) - set(lost)
    assert [p.case.id for p in make_plan((toys.QUICK,)) if p.case.id not in found.findings] == []
