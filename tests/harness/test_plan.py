"""The plan, the roster and one case: ids, questions, and whose fault it is when something breaks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch
from torch import Tensor, nn

from conformance.checks.check import Check
from conformance.checks.registry import CHECKS
from conformance.judging.judge import NEEDED
from conformance.nouns.finding import Case, Finding, Outcome
from conformance.nouns.probe import Probe
from conformance.planning.plan import Planned, make_plan
from conformance.running.run import run_case
from refs.settings import Settings
from refs.subject import Subject
from subjects.own.roster import ENTRIES
from tests.harness import toys


def one(check: str = "influence", **more: object) -> Planned:
    """One planned case of the sound toy, changed."""
    planned = next(p for p in make_plan(toys.ONE) if p.case.check == check)
    return replace(planned, **more)  # type: ignore[arg-type]


def test_no_two_probes_of_a_check_share_an_id() -> None:
    """Two answers would be filed under one case, and one of them be lost."""
    counts = Counter(planned.case.id for planned in make_plan(ENTRIES))
    assert [case for case, n in counts.items() if n > 1] == []


def test_two_probes_that_share_an_id_are_refused() -> None:
    """A probe whose id leaves out a field would silently replace another."""
    twins = Check("twins", "?", lambda entry, reference: (Probe(label="a", r=1), Probe(label="a", r=2)), CHECKS[0].run)
    with pytest.raises(ValueError, match="two probes of one check have the id sound/"):
        make_plan(toys.ONE, (twins,))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "t0"},
        {"dtype": "float32"},
        {"adapter": None},
        {"d_in": 13},
        {"d_out": 21},
        {"r": 5},
        {"alpha": 6.5},
        {"bias": False},
        {"batch": (5, 1)},
        {"batch": ()},
        {"training": True},
        {"options": (("rslora", True),)},
        {"options": (("dropout", 0.25),)},
        {"special": "strided"},
    ],
)
def test_every_field_of_a_probe_shows_in_its_id(change: dict[str, object]) -> None:
    """Two different questions would have one name."""
    assert replace(Probe(), **change).id != Probe().id  # type: ignore[arg-type]


def test_two_entries_of_one_name_are_refused() -> None:
    """One variant could pass on the evidence of another of the same name."""
    with pytest.raises(ValueError, match="the id sound/"):
        make_plan((toys.SOUND, toys.SOUND))


def test_the_plan_does_not_depend_on_the_order_of_the_roster() -> None:
    """Moving a line in the roster would be a diff in the committed reports."""
    forth, back = make_plan((toys.SOUND, toys.SHIFTED)), make_plan((toys.SHIFTED, toys.SOUND))
    assert [p.case for p in forth] == [p.case for p in back] == sorted(p.case for p in forth)


def test_every_check_has_a_question_and_a_name_of_its_own() -> None:
    """A card would not say what was asked."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.question.endswith("?"), check.name
        assert check.question.count("\n") == 0, check.name


def test_every_needed_check_asks_every_variant_and_every_other_asks_one() -> None:
    """A variant could be CORRECT without having been asked one of the questions."""
    asked = {(p.case.variant, p.case.check) for p in make_plan(ENTRIES)}
    assert asked >= {(entry.name, check) for entry in ENTRIES for check in NEEDED}
    assert {check for _, check in asked} == {check.name for check in CHECKS} - {
        "promises",
        "recorded",
    }  # of others' code


def test_every_deviation_says_what_why_and_where() -> None:
    """A declared difference would excuse a case without a reason that a reader can check."""
    declared = [deviation for entry in ENTRIES for deviation in entry.deviations]
    assert declared
    for deviation in declared:
        assert deviation.what, deviation.cases
        assert deviation.why, deviation.cases
        assert deviation.link.startswith("https://"), deviation.cases


def test_a_subject_that_raises_is_at_fault() -> None:
    """A crash where the reference works would count as a question that could not be asked."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        raise RuntimeError("no")

    found = run_case(one(entry=replace(toys.SOUND, build=build)))
    assert (found.outcome, found.raised) == (Outcome.DIFFER, True)
    assert re.fullmatch(r"RuntimeError: no \(tests/harness/test_plan.py:\d+ in build\)", found.got)


def test_a_reference_that_raises_proves_nothing() -> None:
    """A broken reference would be blamed on the subject, or read as agreement."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        raise RuntimeError("no")

    found = run_case(one(reference=replace(toys.LIVE, build=build)))
    assert (found.outcome, found.got) == (Outcome.ERROR, "RuntimeError: no")


@pytest.mark.parametrize(
    ("at", "told", "outcome"),
    [
        ("*-f64-*", "no double", Outcome.NOT_APPLICABLE),
        ("*-f64-*", "no half", Outcome.ERROR),
        ("*-f32-*", "no double", Outcome.ERROR),
        ("", "", Outcome.ERROR),
    ],
)
def test_a_reference_that_raises_where_it_declares_it_cannot_answer(at: str, told: str, outcome: Outcome) -> None:
    """One declared gap of a reference would excuse every other failure of it."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        raise RuntimeError("no double")

    found = run_case(one(reference=replace(toys.LIVE, build=build, cannot=((at, told, "it takes no float64"),))))
    assert (found.outcome, found.n_compared) == (outcome, 0)
    assert (found.what == "it takes no float64") is (outcome is Outcome.NOT_APPLICABLE)


class Single(toys.Gate):
    """Answers in float32 whatever it is asked in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class Nothing(toys.Gate):
    """Answers NaN."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float("nan")


class Deaf(toys.Gate):
    """Does not answer."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no")


@pytest.mark.parametrize("kind", [Single, Nothing, Deaf])
def test_a_subject_that_fails_where_the_reference_cannot_answer(kind: type[toys.Gate]) -> None:
    """A declared gap of the reference would excuse the subject."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        raise RuntimeError("no")

    silent = replace(toys.LIVE, build=build, cannot=(("*", "", "nothing"),))
    entry = replace(toys.SOUND, build=lambda layer, s: toys.gated(layer, s, kind))
    assert run_case(one(reference=silent, entry=entry)).outcome is Outcome.DIFFER


def test_what_a_reference_cannot_answer_is_planned() -> None:
    """A declared gap with a misspelt pattern would lie about forever."""
    probes = {(p.reference.id, p.probe.id) for p in make_plan(ENTRIES)}
    for entry in ENTRIES:
        for reference in entry.method.references if entry.method else ():
            for pattern, told, why in getattr(reference, "cannot", ()):
                assert told, pattern
                assert why, pattern
                assert any(name == reference.id and fnmatchcase(probe, pattern) for name, probe in probes), pattern


@pytest.mark.parametrize("case", ["", "sound/peft:gate/forward/other"])
def test_a_check_that_answers_for_another_case_proves_nothing(case: str) -> None:
    """A check that mixes up its cases would fill one with the agreement of another."""
    astray = replace(CHECKS[0], run=lambda trial: Finding(case, Outcome.AGREE, 5))
    planned = one(check="influence")
    found = run_case(replace(planned, check=replace(astray, name="influence")))
    assert (found.case, found.outcome) == (planned.case.id, Outcome.ERROR)


class Careless(toys.Gate):
    """Leaves torch changed behind it."""

    def forward(self, x: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(4711)
        return super().forward(x)


def test_a_subject_that_changes_torch_does_not_change_the_next_case() -> None:
    """One careless subject would switch off the gradients of all who come after it, who then agree over nothing."""
    before = torch.get_rng_state()
    entry = replace(toys.SOUND, build=lambda layer, s: toys.gated(layer, s, Careless))
    found = run_case(one(check="gradients", entry=entry))
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), before)
    assert found.outcome is Outcome.DIFFER


def test_a_frozen_gate_is_not_excused_by_the_closed_form() -> None:
    """A witness asked about the subject's own idle start would acquit a subject that ignores its tensors."""
    findings = {p.case: run_case(p) for p in make_plan((toys.FROZEN,)) if p.case.check == "forward"}
    moved = [f for case, f in findings.items() if case.probe.startswith("perturbed") and f.n_compared > 1]
    assert len(moved) > 10
    assert all(f.outcome is Outcome.DIFFER for f in moved)


def test_a_sound_toy_agrees_and_a_wrong_one_differs(
    toy_findings: dict[str, Finding], toy_plan: tuple[Case, ...]
) -> None:
    """The harness could not tell a right subject from a wrong one that nobody here wrote."""
    assert {c.id for c in toy_plan} == set(toy_findings)
    sound = {f.outcome for case, f in toy_findings.items() if case.startswith("sound/")}
    assert sound == {Outcome.AGREE}
    wrong = {case.split("/")[2] for case, f in toy_findings.items() if f.outcome is Outcome.DIFFER}
    assert "forward" in wrong
