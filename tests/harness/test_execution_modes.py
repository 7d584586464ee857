"""Tests of the check that runs, copies and changes adapted models in other ways than a plain call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from conformance.checks.check import Check
from conformance.checks.use import execution_modes
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Finding, Outcome
from conformance.planning.plan import Planned, make_plan
from conformance.running.run import run_case
from proof.seeded.fault import Seeded
from proof.seeded.faults.wrapped import SEEDED_FAULTS
from proof.seeded.registry import entry_of
from refs.reference import ClosedForm
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from tests.harness import toys
from variants.ia3 import IA3

CHECK = Check("execution_modes", execution_modes.__doc__ or "", execution_modes.probes, execution_modes.run)


def entry(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


def planned(entry: Entry) -> tuple[Planned, ...]:
    return make_plan([entry], (CHECK,))


def findings(entry: Entry) -> Iterator[tuple[str, Finding]]:
    """The way of each case and what was found, one after the other."""
    return ((case.probe.special, run_case(case)) for case in planned(entry))


def test_every_way_works_for_a_sound_variant() -> None:
    """Else the check would call a correct adapter wrong, or say that it works without a comparison."""
    found = list(findings(entry("ia3")))
    assert {way for way, _ in found} == set(execution_modes.WAYS)
    for way, finding in found:
        assert finding.outcome is Outcome.AGREE, finding.message()
        assert finding.n_compared > 20, (way, finding.n_compared)
        assert finding.facts == Answer(Use.WORKS)


def test_options_are_traced_too() -> None:
    """Else a path that only an option takes could break the graph unseen."""
    road = [case.probe for case in planned(entry("road")) if case.probe.special == "trace"]
    assert {dict(probe.options).get("kind") for probe in road} >= {"road_2", "road_4"}


def test_dropout_is_on_when_a_forward_runs_again() -> None:
    """Else a mask that is drawn outside of torch's generator would never be drawn twice."""
    probes = [case.probe for case in planned(entry("lora")) if case.probe.special == "recompute"]
    assert any(probe.training and dict(probe.options).get("dropout") for probe in probes)


def test_asked_once_per_variant() -> None:
    """Else the same question would be paid for against each reference."""
    lora = entry("lora")
    assert lora.method is not None
    assert {case.reference.id for case in planned(lora)} == {lora.method.main.id}
    assert all(not isinstance(case.reference, ClosedForm) for case in planned(lora))


def test_a_formula_without_a_life_is_not_asked() -> None:
    """Else somebody else's function would be called wrong because it cannot be pickled."""
    assert planned(toys.SOUND) == ()


@pytest.mark.parametrize("seeded", SEEDED_FAULTS, ids=lambda seeded: seeded.name)
def test_wrong_variant_is_killed(seeded: Seeded) -> None:
    """Else an adapter that goes wrong in this way would be called correct."""
    first = next((f for _, f in findings(entry_of(seeded)) if f.outcome is not Outcome.AGREE), None)
    assert first is not None, "no case differs"
    assert first.outcome is Outcome.DIFFER, first.message()
    assert first.raised == seeded.raises, first.message()


def test_seeded_faults_are_right_in_the_other_ways() -> None:
    """Else it might be a slip in the seeded that the check sees, and not its bug."""
    touched = {"LoRAMergesOnceForInference", "IA3HoldsItsGate"}
    for seeded in SEEDED_FAULTS:
        if seeded.name not in touched:
            case = next(case for case in planned(entry_of(seeded)) if case.probe.special == "load_state_dict")
            assert run_case(case).outcome is Outcome.AGREE, seeded.name


class IA3ComputesNothing(IA3):
    """A toy without a gate."""

    def change_output(self, layer, x, y):  # type: ignore[no-untyped-def]
        raise RuntimeError("not today")


def test_an_error_is_the_subjects_and_is_told() -> None:
    """Else the card would not say how a way fails."""
    wrong = entry_for(IA3ComputesNothing, like=entry("ia3"))
    case = next(case for case in planned(wrong) if case.probe.special == "pickle")
    finding = run_case(case)
    assert finding.outcome is Outcome.DIFFER
    assert finding.facts == Answer(Use.RAISES, "RuntimeError: not today")


def test_many_models_are_compiled_in_one_process() -> None:
    """Else the compiler's own limit on compiling one function again would be taken for a break in the graph."""
    case = next(case for case in planned(entry("ia3")) if case.probe.special == "compile")
    sized = [replace(case, probe=replace(case.probe, special="trace", d_in=4 + k, d_out=6 + k)) for k in range(10)]
    assert {run_case(each).outcome for each in sized} == {Outcome.AGREE}
