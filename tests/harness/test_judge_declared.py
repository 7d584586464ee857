"""Declared deviations and the reference's own faults: what they excuse, and what they do not."""

from __future__ import annotations

import pytest

from conformance.judging.judge import judge
from conformance.nouns.finding import Case, Compared, Fault, Finding, Outcome
from conformance.nouns.verdict import Label
from tests.harness.world import FORWARD, NEEDED, PARAMS, PLAN, WIDE, WITNESS, agree, deviation, differ, sound, verdict

DTYPE, SHAPE = Compared("g", "dtype"), Compared("g", "shape")


@pytest.mark.parametrize(
    ("scope", "by_default", "label"),
    [
        (True, False, Label.CORRECT),
        (True, True, Label.CORRECT),
        (False, True, Label.PARTIAL),
        (False, False, Label.CORRECT),
    ],
)
def test_a_declared_difference(scope: bool, by_default: bool, label: Label) -> None:
    """A declared deviation would count as a bug, or one under the default settings as none."""
    declared = deviation("peft:gate/forward/w?de", scope=scope, by_default=by_default)
    found = verdict(sound(differ(WIDE)), [declared])
    assert found.label is label
    assert found.declared == ((declared, (WIDE.id,)),)
    assert found.buggy == ()


def test_a_deviation_that_no_longer_shows() -> None:
    """A fixed difference would stay declared, and excuse the next bug at the same place."""
    found = verdict(sound(), [deviation("*/wide")])
    assert found.label is Label.UNPROVEN
    assert found.unproven == (("*/wide", "a declared deviation was not observed: withdraw it"),)


def test_a_deviation_that_matches_no_case() -> None:
    """A deviation with a misspelt pattern would lie about forever."""
    found = verdict(sound(), [deviation("peft:gate/forward/wyde")])
    assert found.label is Label.UNPROVEN
    assert found.unproven[0][1] == "a declared deviation that matches no planned case"


def test_a_deviation_whose_case_gave_no_evidence_does_not_show() -> None:
    """A crash would count as the declared difference."""
    evidence = sound()
    del evidence[WIDE.id]
    assert len(verdict(evidence, [deviation("*/wide", scope=True)]).unproven) == 2


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NOT_APPLICABLE])
def test_a_deviation_does_not_excuse_a_question_that_was_not_answered(outcome: Outcome) -> None:
    """Declaring a deviation would silence a check that broke."""
    assert verdict(sound(differ(WIDE, outcome=outcome)), [deviation("*/wide")]).label is Label.UNPROVEN


def test_a_deviation_of_another_variant_excuses_nothing() -> None:
    """A pattern that matches everything would excuse the differences of every variant."""
    (found,) = judge(["gate"], PLAN, sound(differ(WIDE)), {"other": (deviation("*"),)}, needed=NEEDED)
    assert found.label is Label.BUGGY


def test_a_deviation_excuses_only_the_cases_that_it_names() -> None:
    """One declared difference would cover an undeclared one beside it."""
    found = verdict(sound(differ(WIDE), differ(PARAMS)), [deviation("*/wide")])
    assert found.label is Label.BUGGY
    assert [d.case for d in found.buggy] == [PARAMS]


def test_one_deviation_by_default_among_several_makes_it_partial() -> None:
    """The mildest of several deviations would set the label."""
    declared = [deviation("*/wide", by_default=True), deviation("*/plain", scope=True), deviation("*/params/*")]
    evidence = sound(differ(WIDE), differ(PARAMS))
    extra = PARAMS.__class__("gate", "peft:gate", "params", "other")
    found = verdict(
        {**evidence, extra.id: agree(extra)},
        declared,
        plan=[*PLAN, extra],
    )
    assert found.label is Label.PARTIAL


@pytest.mark.parametrize(
    ("differs", "label"),
    [((DTYPE,), Label.CORRECT), ((DTYPE, SHAPE), Label.BUGGY), ((SHAPE,), Label.BUGGY)],
)
def test_a_deviation_excuses_only_what_it_says_differs(differs: tuple[Compared, ...], label: Label) -> None:
    """A declared dtype would excuse a wrong shape in the same case."""
    declared = deviation("*/wide", shows=("*: dtype",))
    assert verdict(sound(differ(WIDE, differing=differs)), [declared]).label is label


def test_a_witness_to_something_else() -> None:
    """A closed form of the output would acquit a subject whose gradients differ."""
    shape, more = Compared("output", "shape"), (Compared("output"), Compared("the caller's x"))
    for differs, label in (((shape,), Label.CORRECT), (more, Label.BUGGY)):
        assert verdict(sound(differ(FORWARD, differing=differs))).label is label


def test_a_difference_that_names_nothing() -> None:
    """A check that forgot to say what differs would be covered by every deviation and acquitted by every witness."""
    nameless = Finding(FORWARD.id, Outcome.DIFFER, 20, "gradient of A")
    assert nameless.differing == (Compared("gradient of A"),)
    assert verdict(sound(nameless)).label is Label.BUGGY


def test_a_fault_that_the_check_saw_in_the_reference() -> None:
    """A reference that is NaN at a point would make every right variant BUGGY."""
    found = verdict(sound(differ(WIDE, fault=Fault.REFERENCE)))
    assert (found.label, found.buggy) == (Label.CORRECT, ())
    assert [d.case for d in found.reference_faults] == [WIDE]
    assert "in 1 the reference is wrong or ill-conditioned" in found.reason


def test_the_closed_form_is_a_witness_against_the_live_reference() -> None:
    """A bug of the reference would be blamed on the subject, or hidden by dropping the probe."""
    found = verdict(sound(differ(FORWARD)))
    assert (found.label, [d.case for d in found.reference_faults]) == (Label.CORRECT, [FORWARD])


@pytest.mark.parametrize(
    "witness",
    [
        agree(WITNESS, n_compared=0),
        agree(WITNESS, outcome=Outcome.ERROR),
        agree(WITNESS, outcome=Outcome.NOT_APPLICABLE),
        differ(WITNESS),
        None,
    ],
)
def test_a_witness_that_saw_nothing(witness: Finding | None) -> None:
    """An empty, broken or missing witness would acquit a wrong subject."""
    evidence = sound(differ(FORWARD), *([witness] if witness else []))
    if witness is None:
        del evidence[WITNESS.id]
    assert verdict(evidence).label is Label.BUGGY


def test_a_witness_speaks_of_its_own_probe_only() -> None:
    """An agreement at one point would acquit a difference at another."""
    assert verdict(sound(differ(WIDE))).label is Label.BUGGY


def test_the_live_reference_is_no_witness_against_the_closed_form() -> None:
    """Two references that disagree would always acquit the subject."""
    found = verdict(sound(differ(WITNESS)))
    assert (found.label, [d.case for d in found.buggy]) == (Label.BUGGY, [WITNESS])
    assert verdict(sound(differ(WITNESS), differ(FORWARD))).label is Label.BUGGY


def test_a_check_with_nothing_but_faults_of_the_reference_is_not_proven() -> None:
    """A reference that is always at fault would make anything CORRECT."""
    faulty = [differ(c, fault=Fault.REFERENCE) for c in (FORWARD, WIDE, WITNESS)]
    found = verdict(sound(*faulty))
    assert found.label is Label.UNPROVEN
    assert ("forward", "no case of this check agreed") in found.unproven


DROPPED = Case("gate", "peft:gate", "forward", "dropout")
"""A case in which no closed form can be asked."""


@pytest.mark.parametrize(
    ("differs", "witness", "label"),
    [
        ("output", agree(WITNESS), Label.UNPROVEN),
        ("gradient of x", agree(WITNESS), Label.BUGGY),
        ("output", differ(WITNESS), Label.BUGGY),
    ],
)
def test_a_reference_that_is_wrong_elsewhere(differs: str, witness: Finding, label: Label) -> None:
    """What the reference gets wrong in one case would excuse the variant's own fault in another, or be blamed on it."""
    other = differ(DROPPED, differing=(Compared(differs),), what=differs)
    evidence = {**sound(differ(FORWARD), witness), DROPPED.id: other}
    found = verdict(evidence, plan=[*PLAN, DROPPED])
    assert found.label is label
    assert (DROPPED in [d.case for d in found.buggy]) is (label is Label.BUGGY)


def test_another_aspect_of_what_the_reference_gets_wrong_is_the_variants() -> None:
    """A reference that gives an output of the wrong shape somewhere would excuse wrong numbers under dropout."""
    shape = (Compared("output", "shape"),)
    other = differ(DROPPED, differing=(Compared("output"),))
    found = verdict({**sound(differ(FORWARD, differing=shape)), DROPPED.id: other}, plan=[*PLAN, DROPPED])
    assert (found.label, [d.case for d in found.buggy]) == (Label.BUGGY, [DROPPED])
