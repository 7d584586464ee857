"""The space of uses: its covering array, its ids, what it says of its own gaps, and the search in it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from conformance.commands.fuzz import _differing, _look
from conformance.nouns.facts import CoverageFacts
from conformance.nouns.finding import Outcome
from conformance.planning.plan import make_plan
from conformance.planning.select import plan_for
from conformance.running.run import run_case
from conformance.space import coverage, options, points
from conformance.space.axes import Axis, Rule
from conformance.space.cover import cover
from proof.seeded.fault import Seeded
from proof.seeded.faults.between_layerwise import IA3GateCutAtTwo
from proof.seeded.registry import entry_of
from subjects.own.roster import ENTRIES

AXES = (
    Axis("a", (0, 1, 2, 3), "", paths={}),
    Axis("b", ("x", "y", "z"), "", paths={}),
    Axis("c", (True, False), "", paths={}),
    Axis("d", tuple(range(5)), "", hiding=(4,)),
)
NEVER = Rule(("a", "b"), lambda a, b: a == 3 and b == "x", "never")
THREE = Rule(("a", "c", "d"), lambda a, c, d: a == 0 and (c or d > 1), "three at once")


def pairs(point: dict[str, object]) -> set[tuple[tuple[str, object], ...]]:
    """Every pair of a point, by name and value."""
    return set(combinations(point.items(), 2))


def test_every_pair_that_the_rules_allow_is_in_a_point() -> None:
    """Two values that are wrong only together would never meet."""
    found = cover(AXES, (NEVER, THREE))
    assert not any(rule.breaks(point) for point in found.points for rule in (NEVER, THREE))
    have = {pair for point in found.points if point["d"] != 4 for pair in pairs(point)}
    have |= {pair for point in found.points for pair in pairs(point) if ("d", 4) in pair}
    every = {
        ((one.name, v), (two.name, w)) for one, two in combinations(AXES, 2) for v in one.values for w in two.values
    }
    lacking = {" with ".join(f"{name}={value}" for name, value in pair) for pair in every - have}
    assert lacking == {what for what, _ in found.excused}
    assert all(why for _, why in found.excused)
    assert found.pairs == len(every) - len(lacking)
    assert not found.missing


def test_every_triple_of_the_axes_with_paths_is_in_a_point() -> None:
    """A path that only three circumstances together take would never be taken."""
    found = cover(AXES)
    seen = {(point["a"], point["b"], point["c"]) for point in found.points if point["d"] != 4}
    assert len(seen) == 4 * 3 * 2
    assert len(found.points) <= 34


def test_the_array_is_the_same_every_time_and_begins_with_what_is_given() -> None:
    """A plan would differ from run to run, and committed cards with it; a closed form would not witness for a layer."""
    preset = {"a": 2, "b": "y", "c": False, "d": 3}
    one, two = (cover(AXES, (NEVER,), [preset]) for _ in range(2))
    assert one == two
    assert one.points[0] == preset


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_value_and_pair_is_covered_or_has_an_excuse(entry) -> None:  # type: ignore[no-untyped-def]
    """A blind spot would be on no list."""
    told = coverage.coverage(entry)
    assert told.missing == ()
    assert told.pairs > 1000
    assert all(excuse.why for excuse in told.excused)


def test_ids_of_points_read_back() -> None:
    """A case that the fuzzer prints could not be replayed."""
    planned = [p for p in make_plan(ENTRIES) if p.case.check == points.CHECK and not p.probe.label]
    assert len(planned) > 1000
    for each in planned:
        assert points.read(each.probe.id) == each.probe
    with pytest.raises(ValueError, match="want the id"):
        points.read("t0-f64-nonsense-in3")


def test_a_config_field_that_no_axis_varies_makes_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option could be wrong at every value but its default, and the card would say CORRECT."""
    lora = next(entry for entry in ENTRIES if entry.name == "lora")
    (case,) = (p for p in make_plan([lora]) if p.case.check == points.CHECK and p.probe.label)
    assert run_case(case).outcome is Outcome.AGREE
    fewer = options.Options(options.OPTIONS["lora"].axes[:1])
    monkeypatch.setitem(options.OPTIONS, "lora", fewer)
    finding = run_case(case)
    assert finding.outcome is Outcome.ERROR
    assert isinstance(finding.facts, CoverageFacts)
    assert "config field init, which is on no axis" in finding.facts.missing


def test_what_an_entry_does_not_offer_is_an_excuse() -> None:
    """A card would not say that nobody asked for a saved adapter."""
    lora = next(entry for entry in ENTRIES if entry.name == "lora")
    told = coverage.coverage(replace(lora, lifecycle=None))
    (excuse,) = (each for each in told.excused if "offers no function" in each.why)
    assert excuse.what == "life=saved, reloaded, merged, folded"
    assert excuse.references == ("peft:lora", "closed:lora")
    assert not told.missing


def test_the_fuzzer_finds_a_wrong_gate_and_its_case_replays() -> None:
    """The search would look at nothing, or print what cannot be run again."""
    import hypothesis

    wrong = entry_of(Seeded(IA3GateCutAtTwo, "ia3", "space"))
    found, asked = _look(hypothesis, wrong, 0)
    assert asked
    assert found is not None
    replayed = plan_for(["ia3"], [wrong], found.case.id)
    assert replayed[0].case == found.case
    assert _differing(tuple(p for p in replayed if p.case.check == points.CHECK))
