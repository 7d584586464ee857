"""The harness kills every wrong variant by the check that claims it, and lets every correct re-writing live."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch

from conformance.checks.registry import CHECKS
from conformance.deviations import DEVIATIONS
from conformance.judge import judge
from conformance.model import Case, Finding, Label, Outcome, Verdict
from conformance.plan import Planned, make_plan
from conformance.run import run_case
from refs.reference import ClosedForm
from tests.museum.registry import EXHIBITS, REWRITINGS, Exhibit, Rewriting, entry_of
from tests.museum.wrong import antipasto, dora, hra, ia3, lora, lora_calls, lora_tensors, low_rank

WITHOUT_SUBJECT = "references"
"""The one check that does not look at the subject, so no wrong variant can fail it."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The museum is many small cases: threads would only get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planned_of(shown: Exhibit | Rewriting, checks: set[str]) -> list[Planned]:
    """Its cases of these checks, those against a closed form first: they witness for or against the others."""
    plan = make_plan([entry_of(shown)], tuple(check for check in CHECKS if check.name in checks))
    return sorted(plan, key=lambda planned: not isinstance(planned.reference, ClosedForm))


def judged(shown: Exhibit | Rewriting, findings: dict[Case, Finding]) -> Verdict:
    """The verdict from what was measured alone."""
    checks = {case.check for case in findings}
    declared = [d for d in DEVIATIONS if any(f"/{check}/" in d.cases for check in checks)]
    evidence = {case.id: finding for case, finding in findings.items()}
    return judge([shown.like], list(findings), evidence, declared, needed=())[0]


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.name)
def test_its_check_kills_it(exhibit: Exhibit) -> None:
    """A bug of this kind in a variant would be called CORRECT, or only be found by accident."""
    findings: dict[Case, Finding] = {}
    for planned in planned_of(exhibit, {exhibit.killer}):
        findings[planned.case] = finding = run_case(planned)
        if finding.outcome is Outcome.DIFFER and (finding.what == "it raised") is exhibit.raises:
            verdict = judged(exhibit, findings)
            if verdict.label is Label.BUGGY and verdict.buggy[-1].case == planned.case:
                assert finding.severity is exhibit.severity
                return
    told = [finding.message() for finding in findings.values() if finding.outcome is not Outcome.AGREE]
    pytest.fail("\n".join([f"alive after {len(findings)} cases of {exhibit.killer}", *told]))


@pytest.mark.parametrize("rewriting", REWRITINGS, ids=lambda r: r.name)
def test_a_correct_rewriting_lives(rewriting: Rewriting) -> None:
    """Correct code that does not look like ours, or like peft, would be called wrong."""
    plan = planned_of(rewriting, {check.name for check in CHECKS} - {WITHOUT_SUBJECT})
    verdict = judged(rewriting, {planned.case: run_case(planned) for planned in plan})
    assert not verdict.buggy, verdict.buggy[0].finding.message()
    assert verdict.label is Label.CORRECT, verdict.reason
    assert any(f.outcome is Outcome.AGREE for f in verdict.findings.values())


def test_every_check_kills_something() -> None:
    """A check could look at nothing at all and nobody would notice."""
    assert {exhibit.killer for exhibit in EXHIBITS} == {check.name for check in CHECKS} - {WITHOUT_SUBJECT}


def test_names_are_unique() -> None:
    """Two exhibits of one name would be one line in every report of the museum."""
    names = [shown.name for shown in (*EXHIBITS, *REWRITINGS)]
    assert len(names) == len(set(names))


def test_no_exhibit_is_left_out() -> None:
    """A wrong variant that was written and never registered would not be tried."""
    modules = (antipasto, dora, hra, ia3, lora, lora_calls, lora_tensors, low_rank)
    written = {
        name
        for module in modules
        for name, thing in inspect.getmembers(module, inspect.isclass)
        if thing.__module__ == module.__name__ and not name.startswith("_")
    }
    assert written <= {shown.name for shown in (*EXHIBITS, *REWRITINGS)}


def test_every_exhibit_says_what_its_bug_is() -> None:
    """A reader of the museum would see a name and have to work out the bug from the code."""
    for shown in (*EXHIBITS, *REWRITINGS):
        assert shown.variant.__doc__, shown.name
        assert len(shown.variant.__doc__.strip().splitlines()) == 1, shown.name
