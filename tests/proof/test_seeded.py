"""The harness kills every wrong variant by the check that claims it, and lets every correct re-writing live."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from functools import cache
from types import ModuleType

import pytest

from conformance.nouns.finding import Outcome
from conformance.nouns.verdict import Label
from proof.ask import ALL_CHECKS, Asked, cases_of, sample_of, verdict_on
from proof.seeded import faults, rewrites
from proof.seeded.registry import FAULTS, REWRITES, SEEDED_FAULTS, Rewrite, Seeded, entry_of
from subjects.own.roster import ENTRIES
from variants.registry import VARIANTS

pytestmark = pytest.mark.integration

EVERY = 16
"""Of how many probes a correct rewrite is asked one in the ordinary run."""
WRITTEN_ANEW = [shown for shown in REWRITES if not shown.name.endswith("InParts")]


@pytest.mark.parametrize("seeded", SEEDED_FAULTS, ids=lambda e: e.name)
def test_its_check_kills_it(seeded: Seeded) -> None:
    """A bug of this kind in a variant would be called CORRECT, or only be found by accident."""
    asked = Asked(entry_of(seeded))
    for planned in cases_of(asked.entry, {seeded.killer}):
        if asked.kills(planned):
            finding = asked.findings[planned.case]
            if finding.raised is seeded.raises:
                assert finding.severity is seeded.severity
                return
    told = [finding.message() for finding in asked.findings.values() if finding.outcome is not Outcome.AGREE]
    pytest.fail("\n".join([f"alive after {len(asked.findings)} cases of {seeded.killer}", *told]))


@pytest.mark.parametrize("rewriting", REWRITES, ids=lambda r: r.name)
def test_a_sample_spares_a_correct_rewriting(rewriting: Rewrite) -> None:
    """Correct code that does not look like ours, or like peft, would be called wrong.

    The rewrites of one method are asked different probes; the slow test below asks each of them all.
    """
    asked = Asked(entry_of(rewriting))
    for planned in sample_of(asked.entry, EVERY, _place(rewriting)):
        asked.ask(planned)
    verdict = asked.verdict
    assert not verdict.buggy, verdict.buggy[0].finding.message()
    agreed = {case.check for case, f in asked.findings.items() if f.outcome is Outcome.AGREE}
    assert {"forward", "gradients", "space"} <= agreed


def _place(rewriting: Rewrite) -> int:
    """Its number among the rewrites of its method."""
    return [r.name for r in REWRITES if r.like == rewriting.like].index(rewriting.name)


@pytest.mark.parametrize("name", ["lora", "antipasto_rot"])
def test_samples_cover_the_plan_and_miss_no_check(name: str) -> None:
    """A case could be in no sample, a check in some only, or a reference be believed without its witness."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    whole = {planned.case for planned in cases_of(entry)}
    samples = [{planned.case for planned in sample_of(entry, EVERY, offset)} for offset in range(EVERY)]
    assert set.union(*samples) == whole
    for sample in samples:
        assert {case.check for case in sample} == {case.check for case in whole}
        assert len(sample) < len(whole) / EVERY + 2 * len({(case.check, case.reference) for case in whole})
        probes = {(case.check, case.probe) for case in sample}
        assert {case for case in whole if (case.check, case.probe) in probes} == sample


@pytest.mark.slow
@pytest.mark.parametrize("rewriting", REWRITES, ids=lambda r: r.name)
def test_a_correct_rewriting_lives(rewriting: Rewrite) -> None:
    """Correct code that does not look like ours, or like peft, would be called worse than the variant it rewrites."""
    verdict = verdict_on(entry_of(rewriting))
    assert not verdict.buggy, verdict.buggy[0].finding.message()
    # A rewrite that is no adapter of the runtime is not asked what some variants declare a difference in.
    assert verdict.label in (Label.CORRECT, _label_of_the_original(rewriting.like)), verdict.reason
    assert any(f.outcome is Outcome.AGREE for f in verdict.findings.values())


@cache
def _label_of_the_original(name: str) -> Label:
    """CORRECT, or PARTIAL where the variant itself declares a difference under its default settings."""
    label = verdict_on(next(entry for entry in ENTRIES if entry.name == name)).label
    assert label in (Label.CORRECT, Label.PARTIAL)
    return label


def test_every_check_kills_something() -> None:
    """A check could look at nothing at all and nobody would notice."""
    assert {seeded.killer for seeded in SEEDED_FAULTS} == set(ALL_CHECKS)


def test_every_variant_is_tried() -> None:
    """The harness could be sharp for one method and blind, or deaf to other words, for another."""
    wrong_ones, right_ones = Counter(e.like for e in SEEDED_FAULTS), Counter(r.like for r in WRITTEN_ANEW)
    names = [variant.name for variant in VARIANTS]
    assert not {name: wrong_ones[name] for name in names if wrong_ones[name] < 6}
    assert not {name: right_ones[name] for name in names if right_ones[name] < 2}
    assert len(WRITTEN_ANEW) >= 30


def test_every_fault_of_real_code_is_shown() -> None:
    """A fault that real implementations had could come back unseen."""
    shown = {seeded.fault for seeded in SEEDED_FAULTS if seeded.fault}
    assert shown == set(FAULTS)


def test_names_are_unique() -> None:
    """Two seeded faults of one name would be one line in every report."""
    names = [shown.name for shown in (*SEEDED_FAULTS, *REWRITES)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rooms", [faults, rewrites], ids=["faults", "rewrites"])
def test_no_seeded_is_left_out(rooms: ModuleType) -> None:
    """A variant that was written and never registered would not be tried."""
    written = {
        name
        for room in pkgutil.iter_modules(rooms.__path__, f"{rooms.__name__}.")
        if not room.name.endswith("wrapper")  # what re-writings are built on
        for name, thing in inspect.getmembers(importlib.import_module(room.name), inspect.isclass)
        if thing.__module__ == room.name and not name.startswith("_")
    }
    assert written
    assert written <= {shown.name for shown in (*SEEDED_FAULTS, *REWRITES)}


def test_every_seeded_says_what_its_bug_is() -> None:
    """A reader would see a name and have to work out the bug from the code."""
    for shown in (*SEEDED_FAULTS, *REWRITES):
        assert shown.variant.__doc__, shown.name
        assert len(shown.variant.__doc__.strip().splitlines()) == 1, shown.name
