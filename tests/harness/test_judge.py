"""Plan and evidence to a verdict: what is missing, what is empty, what differs, and which label wins."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from conformance.judging.judge import judge, worse
from conformance.nouns.finding import Case, Outcome
from conformance.nouns.verdict import Label
from tests.harness.world import FORWARD, PARAMS, PLAN, WIDE, WITNESS, agree, deviation, differ, sound, verdict


def test_everything_agrees() -> None:
    """Nothing could ever be CORRECT."""
    found = verdict(sound())
    assert (found.label, found.unproven, found.buggy) == (Label.CORRECT, (), ())
    assert found.reason == "4 of 4 planned cases agree."


@pytest.mark.parametrize("case", PLAN)
def test_evidence_that_is_missing(case: Case) -> None:
    """A case that crashed its worker would not be missed."""
    evidence = sound()
    del evidence[case.id]
    found = verdict(evidence)
    assert found.label is Label.UNPROVEN
    assert case.id in [name for name, _ in found.unproven]


def test_no_evidence_at_all() -> None:
    """A run that never ran would pass."""
    assert verdict({}).label is Label.UNPROVEN


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NOT_APPLICABLE])
@pytest.mark.parametrize("case", PLAN)
def test_a_question_that_was_not_answered(case: Case, outcome: Outcome) -> None:
    """A check that broke or stood aside would count as an agreement."""
    found = verdict(sound(agree(case, outcome=outcome)))
    assert found.label is Label.UNPROVEN
    assert found.unproven[0][0] == case.id


@pytest.mark.parametrize("n", [0, -1])
@pytest.mark.parametrize("case", PLAN)
def test_an_agreement_over_nothing(case: Case, n: int) -> None:
    """A check that compares nothing would read as agreement."""
    found = verdict(sound(agree(case, n_compared=n)))
    assert found.label is Label.UNPROVEN
    assert (case.id, "compared nothing") in found.unproven


@pytest.mark.parametrize("case", [PARAMS, WIDE, WITNESS])
def test_a_difference_that_nobody_declared(case: Case) -> None:
    """A wrong variant would not be BUGGY."""
    found = verdict(sound(differ(case)))
    assert (found.label, [d.case for d in found.buggy]) == (Label.BUGGY, [case])


def test_a_needed_check_that_never_agreed() -> None:
    """A variant for which a whole check was forgotten would be CORRECT."""
    found = verdict({c.id: agree(c) for c in PLAN if c is not PARAMS}, plan=[c for c in PLAN if c is not PARAMS])
    assert found.label is Label.UNPROVEN
    assert found.unproven == (("params", "no case of this check agreed"),)


def test_a_needed_check_whose_every_case_differs_as_declared() -> None:
    """One broad deviation could stand in for all the proof of a check."""
    found = verdict(sound(differ(PARAMS)), [deviation("*/params/*", scope=True)])
    assert found.label is Label.UNPROVEN


def test_an_empty_agreement_is_no_proof_of_its_check() -> None:
    """The positive proof of a check could be an empty one."""
    assert ("params", "no case of this check agreed") in verdict(sound(agree(PARAMS, n_compared=0))).unproven


def test_a_check_that_is_asked_is_needed_even_if_no_list_names_it() -> None:
    """A new check could be forgotten in the list of what a CORRECT variant must have proven."""
    extra = Case("gate", "peft:gate", "extra", "plain")
    evidence = sound(differ(extra))
    found = verdict(evidence, [deviation("*/extra/*", scope=True)], plan=[*PLAN, extra])
    assert found.unproven == (("extra", "no case of this check agreed"),)


def test_what_the_reference_cannot_answer_is_neither_missing_nor_an_agreement() -> None:
    """A question that the reference declares it cannot answer would count as proof."""
    silent = agree(WIDE, outcome=Outcome.NOT_APPLICABLE, what="it takes no float16", n_compared=0)
    found = verdict(sound(silent))
    assert found.label is Label.CORRECT
    assert found.reason.startswith("3 of 4 planned cases agree; in 1 the reference raises an error")
    every = [replace(silent, case=c.id) for c in (FORWARD, WIDE, WITNESS)]
    assert verdict(sound(*every)).unproven == (("forward", "no case of this check agreed"),)


def test_nothing_planned_is_no_reference() -> None:
    """A variant that nobody compares with anything would be CORRECT."""
    found = verdict({}, plan=())
    assert found.label is Label.UNPROVEN
    assert "NO_REFERENCE" in found.reason


def test_evidence_that_is_broken_as_a_whole() -> None:
    """A truncated run whose findings happen to be all there would be trusted."""
    found = verdict(sound(), broken="the run did not end")
    assert found.label is Label.UNPROVEN
    assert found.unproven == (("evidence", "the run did not end"),)


def test_evidence_of_another_plan() -> None:
    """Findings left by an older plan would be judged as if they were of this one."""
    stray = Case("gate", "peft:gate", "forward", "gone")
    found = verdict(sound(agree(stray)))
    assert found.label is Label.UNPROVEN
    assert stray.id in found.reason


def test_evidence_filed_under_the_wrong_case() -> None:
    """An agreement of one case could stand in for another."""
    evidence = sound()
    evidence[PARAMS.id] = agree(FORWARD)
    found = verdict(evidence)
    assert found.label is Label.UNPROVEN
    assert (PARAMS.id, f"its evidence is that of another case ({FORWARD.id})") in found.unproven


def test_evidence_of_another_variant_is_not_taken() -> None:
    """A variant could pass on the evidence of its neighbour."""
    other = [Case("other", c.reference, c.check, c.probe) for c in PLAN]
    mine, its = judge(["gate", "other"], [*PLAN, *other], sound(), needed=("params", "forward"))
    assert (mine.label, its.label) == (Label.CORRECT, Label.UNPROVEN)


def test_buggy_wins_over_unproven() -> None:
    """A crash elsewhere would hide a proven bug."""
    evidence = sound(differ(WIDE))
    del evidence[PARAMS.id]
    found = verdict(evidence, broken="the run did not end")
    assert found.label is Label.BUGGY
    assert len(found.unproven) == 3


def test_unproven_wins_over_partial() -> None:
    """A declared deviation would hide that something is missing."""
    evidence = sound(differ(WIDE))
    declared = [deviation("*/wide", by_default=True)]
    assert verdict(evidence, declared).label is Label.PARTIAL
    del evidence[PARAMS.id]
    assert verdict(evidence, declared).label is Label.UNPROVEN


def test_the_order_of_the_evidence_does_not_matter() -> None:
    """Two workers would give another verdict than one."""
    evidence = sound(differ(WIDE), agree(PARAMS, n_compared=0))
    shuffled = list(evidence.items())
    random.Random(5).shuffle(shuffled)
    assert verdict(evidence) == verdict(dict(shuffled))


def test_which_change_of_label_is_for_the_worse() -> None:
    """The gate would let a worse verdict in."""
    labels = [Label.BUGGY, Label.UNPROVEN, Label.PARTIAL, Label.CORRECT]
    assert [(a, b) for a in labels for b in labels if worse(a, b)] == [
        (a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]
    ]
