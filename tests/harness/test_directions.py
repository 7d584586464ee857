"""The card says what was measured of directions: the sense of an angle in each basis, and which outputs it pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from conformance.checks.numbers import chirality, pairing
from conformance.checks.registry import CHECKS
from conformance.judging.judge import judge
from conformance.nouns.entry import Entry
from conformance.nouns.facts import PairingFacts, SenseFacts
from conformance.nouns.finding import Finding
from conformance.planning.plan import Planned, make_plan
from conformance.reporting import cards
from conformance.reporting.directions import Beside, pairings, senses
from conformance.reporting.view import CardView
from conformance.running.run import run_case
from refs.settings import Settings
from refs.subject import Subject
from subjects.own.roster import ENTRIES
from tests.harness import toys
from tests.harness.world import agree

ROT, ROAD = (next(entry for entry in ENTRIES if entry.name == name) for name in ("antipasto_rot", "road"))
FEW = ("-block_size=2", "-coeff=-1.0", "-block_size=2-rotate_basis=U", "-block_size=2-rotate_basis=both")
SIDES = ("subject", "authors:antipasto_rot", "authors:antipasto3", "authors:antipasto_torch", "closed:antipasto_rot")


def planned_of(entry: Entry, check: str, endings: tuple[str, ...] = ("",)) -> list[Planned]:
    """The cases of that check whose configuration ends so."""
    plan = make_plan([entry], tuple(c for c in CHECKS if c.name == check))
    return [planned for planned in plan if planned.case.probe.endswith(endings)]


def view_of(entry: Entry, planned: list[Planned], findings: dict[str, Finding]) -> CardView:
    """The card that these findings make."""
    plan = [p.case for p in planned]
    (made,) = cards.views((entry,), judge([entry.name], plan, findings, needed=()), plan)
    return made


def measured(planned: list[Planned]) -> dict[str, Finding]:
    """What the cases find."""
    return {p.case.id: run_case(p) for p in planned}


def told(table: Beside | None) -> dict[tuple[tuple[str, ...], str], tuple[str, ...]]:
    """Heads and options of each line -> its cells."""
    assert table is not None
    return {(line.heads, table.named(line)): tuple(map(line.cell, table.sides)) for line in table.lines}


@pytest.fixture(scope="module")
def turned() -> dict[str, Finding]:
    """What the check of chirality finds in a few configurations."""
    return measured(planned_of(ROT, "chirality", FEW))


def test_the_sense_of_every_side_is_on_the_card(turned: dict[str, Finding]) -> None:
    """A reader would know that a sense differs, and not which side turns which way."""
    view = view_of(ROT, planned_of(ROT, "chirality", FEW), turned)
    table = senses(view)
    assert table is not None
    assert table.sides == SIDES
    towards, away, none = "towards", "away", "-"
    assert told(table) == {
        (("V", "angles_v"), "block_size=2"): (towards, towards, away, away, towards),
        (("V", "angles_v"), "coeff=-1.0"): (away, none, towards, towards, away),
        (("U", "angles_u"), "block_size=2"): (towards, towards, away, away, towards),
        (("both", "angles_v"), "block_size=2"): (towards, towards, none, away, towards),
        (("both", "angles_u"), "block_size=2"): (towards, towards, none, away, towards),
    }
    text = cards.render((view,))["antipasto_rot.md"]
    assert "| basis | tensor | options | subject | `authors:antipasto_rot` |" in text
    assert "\n| V | angles_v | coeff=-1.0 | away | - | towards | towards | away |\n" in text


def test_a_reversed_variant_is_on_the_card() -> None:
    """The table would say what the variant should do, whatever it does."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        return ROT.build(layer, replace(settings, options=(*settings.options, ("convention", "antipasto3"))))

    planned = planned_of(replace(ROT, build=build), "chirality", ("-block_size=2",))
    assert told(senses(view_of(ROT, planned, measured(planned)))) == {
        (("V", "angles_v"), "block_size=2"): ("away", "towards", "away", "away", "towards")
    }


def test_a_side_that_is_not_consistent_shows_both(turned: dict[str, Finding]) -> None:
    """Of a subject that turns one way beside one reference and another way beside the next, one would be hidden."""
    planned = planned_of(ROT, "chirality", ("-block_size=2",))
    case = planned[0].case.id
    facts = turned[case].facts
    assert isinstance(facts, SenseFacts)
    (angle,) = facts.angles
    other = replace(facts, angles=(replace(angle, subject=angle.reference, reference=angle.subject),))
    findings = {**turned, case: replace(turned[case], facts=other)}
    (cells,) = told(senses(view_of(ROT, planned, {p.case.id: findings[p.case.id] for p in planned}))).values()
    assert cells == ("away, towards", "towards", "towards", "away", "towards")


def test_the_paired_outputs_of_every_side_are_on_the_card() -> None:
    """A reader would know that the pairing differs from the authors', and neither theirs nor the variant's."""
    planned = planned_of(ROAD, "pairing")
    findings = measured(planned)
    view = view_of(ROAD, planned, findings)
    table = pairings(view)
    assert table is not None
    assert table.sides == ("subject", "peft:road", "authors:road")
    two = "group_size=2, kind=road_1; group_size=2, kind=road_2"
    assert told(table) == {
        ((), "group_size=64"): ("0 with 32", "0 with 32", "0 with 1"),
        ((), two): ("0 with 1", "0 with 1", "0 with 1"),
    }
    assert "\n| group_size=64 | 0 with 32 | 0 with 32 | 0 with 1 |\n" in cards.render((view,))["road.md"]
    swapped = {}
    for case, finding in findings.items():
        assert isinstance(finding.facts, PairingFacts)
        swapped[case] = replace(finding, facts=replace(finding.facts, subject=(7,)))
    assert {cells[0] for cells in told(pairings(view_of(ROAD, planned, swapped))).values()} == {"0 with 7"}


def test_nothing_recorded_is_no_table() -> None:
    """A card of a method without angles, or of a run without facts, would show an empty table."""
    planned = planned_of(ROT, "chirality", ("-block_size=2",))
    blank = view_of(ROT, planned, {p.case.id: agree(p.case) for p in planned})
    assert senses(blank) is None
    assert pairings(blank) is None
    assert "as measured" not in cards.render((blank,))["antipasto_rot.md"]
    assert not chirality.probes(toys.SOUND, toys.LIVE)
    assert not pairing.probes(toys.SOUND, toys.LIVE)
