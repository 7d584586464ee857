"""What could not be measured says why and what to do, and a command on a card can be run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conformance import cli
from conformance.judging.judge import judge
from conformance.measuring.trial import Trial
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.lifecycle import Lifecycle
from conformance.planning.plan import Planned, make_plan
from conformance.reporting import cards
from conformance.running.run import run_case
from refs.subject import Subject
from tests.harness import toys


def first(entry: Entry, check: str, special: str = "") -> Planned:
    """The first planned case of this check."""
    return next(p for p in make_plan((entry,)) if p.case.check == check and special in p.case.probe)


def test_a_reference_that_is_no_layer() -> None:
    """Of a method with only a closed form, cases would end in an error without a word."""
    entry = replace(
        toys.SOUND, method=replace(toys.METHOD, references=(toys.CLOSED,)), lifecycle=Lifecycle(save=lambda s, p: None)
    )
    planned = first(entry, "execution_modes", "cast")  # autocast is not planned where there is no layer
    found = run_case(replace(planned, probe=replace(planned.probe, special="autocast", dtype="float32", adapter=None)))
    assert found.outcome is Outcome.ERROR
    assert "closed:gate is no layer. Give the method a reference that is one: Live or Transcribed" in found.in_words
    assert "want" not in found.in_words


def test_an_error_without_a_word_says_where_it_was_raised() -> None:
    """A bare assertion would read as nothing at all."""

    def run(trial: Trial) -> Finding:
        raise AssertionError

    planned = first(toys.SOUND, "params")
    told = run_case(replace(planned, check=replace(planned.check, run=run))).in_words
    assert "AssertionError at tests/harness/test_unusable_messages.py:" in told
    assert told.endswith(": raise AssertionError")


def test_an_export_that_is_missing() -> None:
    """Peft would be said to have the method and not to have it, in one line."""

    def refuses(subject: Subject, folder: Path) -> None:
        raise ValueError("sound cannot be exported to peft")

    entry = replace(toys.SOUND, lifecycle=Lifecycle(to_peft=refuses))
    told = run_case(first(entry, "exchange")).in_words
    assert "sound cannot be exported to peft" in told
    assert "the reference peft:gate is a layer of peft, so the export to peft must work" in told


def test_checks_without_a_case_that_agrees(
    here: Path, toy_findings: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The card would print a command that is refused, and not say which checks are meant."""
    plan = tuple(p.case for p in make_plan((toys.SOUND,)))
    kept = tuple(case for case in plan if case.check not in ("params", "influence"))
    verdicts = judge(["sound"], kept, {case.id: toy_findings[case.id] for case in kept})
    (view,) = cards.views((toys.SOUND,), verdicts, kept)
    (row,) = (row for row in view.must_fix() if "no case agreed" in row.told)
    assert row.told == "unproven: no case agreed in the check params, influence"
    assert view.command(row) == "conformance list sound --check params"
    assert cli.main([*view.command(row).split()[1:], "--entries", "tests.harness.toys:ONE"]) == 0
    assert capsys.readouterr().out.startswith("sound/peft:gate/params/")


def test_a_check_of_which_nothing_is_planned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list would look like a command that failed."""
    assert cli.main(["list", "sound", "--entries", "tests.harness.toys:ONE", "--check", "merge"]) == 0
    assert "No case of the check merge is planned" in capsys.readouterr().err
