"""The harness kills every wrong variant by the check that claims it, and lets every correct re-writing live."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch

from conformance.model import Label, Outcome
from proof.jury import ALL_CHECKS, Hearing, cases_of, heard
from proof.museum.registry import EXHIBITS, REWRITINGS, Exhibit, Rewriting, entry_of
from proof.museum.wrong import antipasto, attacks, dora, hra, ia3, lora, lora_calls, lora_tensors, low_rank


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The museum is many small cases: threads would only get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.name)
def test_its_check_kills_it(exhibit: Exhibit) -> None:
    """A bug of this kind in a variant would be called CORRECT, or only be found by accident."""
    hearing = Hearing(entry_of(exhibit))
    for planned in cases_of(hearing.entry, {exhibit.killer}):
        if hearing.kills(planned):
            finding = hearing.findings[planned.case]
            if (finding.what == "it raised") is exhibit.raises:
                assert finding.severity is exhibit.severity
                return
    told = [finding.message() for finding in hearing.findings.values() if finding.outcome is not Outcome.AGREE]
    pytest.fail("\n".join([f"alive after {len(hearing.findings)} cases of {exhibit.killer}", *told]))


@pytest.mark.parametrize("rewriting", REWRITINGS, ids=lambda r: r.name)
def test_a_correct_rewriting_lives(rewriting: Rewriting) -> None:
    """Correct code that does not look like ours, or like peft, would be called wrong."""
    verdict = heard(entry_of(rewriting))
    assert not verdict.buggy, verdict.buggy[0].finding.message()
    assert verdict.label is Label.CORRECT, verdict.reason
    assert any(f.outcome is Outcome.AGREE for f in verdict.findings.values())


def test_every_check_kills_something() -> None:
    """A check could look at nothing at all and nobody would notice."""
    assert {exhibit.killer for exhibit in EXHIBITS} == set(ALL_CHECKS)


def test_names_are_unique() -> None:
    """Two exhibits of one name would be one line in every report of the museum."""
    names = [shown.name for shown in (*EXHIBITS, *REWRITINGS)]
    assert len(names) == len(set(names))


def test_no_exhibit_is_left_out() -> None:
    """A wrong variant that was written and never registered would not be tried."""
    modules = (antipasto, attacks, dora, hra, ia3, lora, lora_calls, lora_tensors, low_rank)
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
