"""Whole runs through pytest: what crashes, hangs, is skipped or deselected is UNPROVEN, and only that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance import gate, report
from conformance.collect import through_pytest
from conformance.entry import Entry
from conformance.evidence import Evidence
from conformance.model import Label, Verdict
from conformance.plan import make_plan
from tests.harness import toys

HERE = "tests.harness.toys"
SECONDS = 5.0


def verdicts(entries: Sequence[Entry], found: Evidence) -> dict[str, Verdict]:
    """What the judge makes of a run, by name."""
    return {view.name: view.verdict for view in report.judged(entries, found)}


def shut(found: dict[str, Verdict]) -> bool:
    """Whether the gate keeps this out of a project in which nothing was committed."""
    return gate.check(tuple(found.values()), {}, ()).status != 0


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """One run of a sound toy, a wrong one, and all that misbehave."""
    file = tmp_path_factory.mktemp("run") / "evidence.jsonl"
    return verdicts(toys.MANY, through_pytest(file, workers=2, entries=f"{HERE}:MANY", limit=SECONDS))


@pytest.mark.parametrize("name", ["segfault", "hanging", "skipping", "exiting"])
def test_a_case_that_never_answers(ran: dict[str, Verdict], name: str) -> None:
    """A case that crashed, hung, was skipped or left the process would simply have no result."""
    verdict = ran[name]
    assert verdict.label is Label.UNPROVEN
    assert [case for case, _ in verdict.unproven] == [f"{name}/{toys.ODD_CASE}"]
    assert shut({name: verdict})


def test_the_neighbours_of_a_crash_are_measured(ran: dict[str, Verdict]) -> None:
    """One crash would take the verdicts of all others with it."""
    assert ran["sound"].label is Label.CORRECT
    assert ran["shifted"].label is Label.BUGGY
    assert not shut({"sound": ran["sound"]})


def test_a_subject_without_a_reference(ran: dict[str, Verdict]) -> None:
    """A subject that nothing is compared with would be let in."""
    assert ran["unreferenced"].label is Label.UNPROVEN
    assert shut({"unreferenced": ran["unreferenced"]})


@pytest.mark.parametrize("kept", ["not influence", "not odd_name and forward", "nothing"])
def test_cases_that_were_deselected(tmp_path: Path, kept: str) -> None:
    """Deselecting the cases that fail would make a variant CORRECT."""
    found = through_pytest(tmp_path / "e.jsonl", workers=1, entries=f"{HERE}:ONE", extra=["-k", kept])
    (verdict,) = verdicts(toys.ONE, found).values()
    assert verdict.label is Label.UNPROVEN
    assert len(verdict.findings) < len(make_plan(toys.ONE))
    assert shut({"sound": verdict})


def test_an_empty_plan(tmp_path: Path) -> None:
    """An empty roster would exit with 0, as an empty parametrisation does."""
    found = verdicts((), through_pytest(tmp_path / "e.jsonl", workers=1, entries=f"{HERE}:NOBODY"))
    assert found == {}
    assert shut(found)


def test_stale_evidence_is_removed_before_the_run(tmp_path: Path, toy_findings: dict[str, object]) -> None:
    """A run that cannot even start would be judged by the evidence of the last one."""
    file = tmp_path / "e.jsonl"
    file.write_text('{"evidence": 1}\n{"end": 0}\n')
    found = through_pytest(file, workers=1, entries="no_such_module:ENTRIES")
    assert not file.exists() or found.findings == {}
    assert verdicts(toys.ONE, found)["sound"].label is Label.UNPROVEN
