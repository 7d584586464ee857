"""Whole runs through pytest: what crashes, hangs, is skipped or deselected is UNPROVEN, and only that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.judging import gate
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.running import evidence
from conformance.running.collect import through_pytest
from conformance.running.evidence import Evidence
from tests.harness import toys

HERE = "tests.harness.toys"
SECONDS = 10.0


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
        assert [case for case, _ in ran[name].unproven] == [f"{name}/{toys.ODD_CASE}"]
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
    assert verdicts(toys.ONE, found)["sound"].label is Label.UNPROVEN
