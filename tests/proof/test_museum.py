"""The harness kills every wrong variant by the check that claims it, and lets every correct re-writing live."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
import torch

from conformance.model import Label, Outcome
from conformance.roster import ENTRIES
from proof.jury import ALL_CHECKS, Hearing, cases_of, heard
from proof.museum import rewritten, wrong
from proof.museum.registry import EXHIBITS, FAULTS, REWRITINGS, Exhibit, Rewriting, entry_of
from variants.registry import VARIANTS

WRITTEN_ANEW = [shown for shown in REWRITINGS if not shown.name.endswith("InParts")]


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
    assert verdict.label is _label_of_the_original(rewriting.like), verdict.reason
    assert any(f.outcome is Outcome.AGREE for f in verdict.findings.values())


@cache
def _label_of_the_original(name: str) -> Label:
    """CORRECT, or PARTIAL where the variant itself declares a difference under its default settings."""
    label = heard(next(entry for entry in ENTRIES if entry.name == name)).label
    assert label in (Label.CORRECT, Label.PARTIAL)
    return label


def test_every_check_kills_something() -> None:
    """A check could look at nothing at all and nobody would notice."""
    assert {exhibit.killer for exhibit in EXHIBITS} == set(ALL_CHECKS)


def test_every_variant_is_tried() -> None:
    """The harness could be sharp for one method and blind, or deaf to other words, for another."""
    wrong_ones, right_ones = Counter(e.like for e in EXHIBITS), Counter(r.like for r in WRITTEN_ANEW)
    names = [variant.name for variant in VARIANTS]
    assert not {name: wrong_ones[name] for name in names if wrong_ones[name] < 6}
    assert not {name: right_ones[name] for name in names if right_ones[name] < 2}
    assert len(WRITTEN_ANEW) >= 30


def test_every_fault_of_real_code_is_shown() -> None:
    """A fault that real implementations had could come back unseen."""
    shown = {exhibit.fault for exhibit in EXHIBITS if exhibit.fault}
    assert shown == set(FAULTS)


def test_names_are_unique() -> None:
    """Two exhibits of one name would be one line in every report of the museum."""
    names = [shown.name for shown in (*EXHIBITS, *REWRITINGS)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rooms", [wrong, rewritten], ids=["wrong", "rewritten"])
def test_no_exhibit_is_left_out(rooms: ModuleType) -> None:
    """A variant that was written and never registered would not be tried."""
    written = {
        name
        for room in pkgutil.iter_modules(rooms.__path__, f"{rooms.__name__}.")
        if not room.name.endswith("wrapper")  # what re-writings are built on
        for name, thing in inspect.getmembers(importlib.import_module(room.name), inspect.isclass)
        if thing.__module__ == room.name and not name.startswith("_")
    }
    assert written
    assert written <= {shown.name for shown in (*EXHIBITS, *REWRITINGS)}


def test_every_exhibit_says_what_its_bug_is() -> None:
    """A reader of the museum would see a name and have to work out the bug from the code."""
    for shown in (*EXHIBITS, *REWRITINGS):
        assert shown.variant.__doc__, shown.name
        assert len(shown.variant.__doc__.strip().splitlines()) == 1, shown.name
