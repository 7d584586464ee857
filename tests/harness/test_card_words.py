"""What a card says first, how it counts, and how equal findings become one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.judging.judge import judge
from conformance.nouns.facts import SidePair, StepFacts
from conformance.nouns.finding import RAISED, Case, Fault, Finding, Kind, Outcome, Severity
from conformance.nouns.verdict import Label, Verdict
from conformance.reporting import cards, report
from conformance.reporting.rows import Note, Row, describe, reference_fault, shared
from conformance.reporting.state import State, section_word, state_of, tally
from conformance.reporting.tables import NOT_AGAINST_THE_REFERENCE, compared, not_covered, steps
from conformance.reporting.view import SECTIONS, CardView
from conformance.running.evidence import Evidence
from subjects.own.roster import ENTRIES
from tests.harness import toys
from tests.harness.world import FORWARD, PARAMS, WIDE, agree, deviation, differ, sound, verdict

ROOT = Path(__file__).parents[2]


def view(findings: dict[str, Finding], plan: tuple[Case, ...]) -> CardView:
    """The card of the sound toy with these findings."""
    (made,) = cards.views((toys.SOUND,), judge(["sound"], plan, findings), plan)
    return made


@pytest.fixture
def plan(toy_plan: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases of the sound toy."""
    return tuple(case for case in toy_plan if case.variant == "sound")


@pytest.fixture
def findings(toy_findings: dict[str, Finding], plan: tuple[Case, ...]) -> dict[str, Finding]:
    """Its true findings."""
    return {case.id: toy_findings[case.id] for case in plan}


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ([], "no case is planned"),
        ([State.AGREE], "the one case agrees"),
        ([State.AGREE] * 2, "both cases agree"),
        ([State.AGREE] * 27, "all 27 cases agree"),
        (
            [State.AGREE] * 25 + [State.ILL_CONDITIONED, State.DECLARED],
            "25 of 27 cases agree; in 1 the variant differs as declared; "
            "in 1 the reference is ill-conditioned, so nothing is compared",
        ),
        ([State.MISSING] * 3, "0 of 3 cases agree; in 3 no result arrived"),
    ],
)
def test_a_count_says_what_happened_to_the_rest(states: list[State], text: str) -> None:
    """A reader would see that 25 of 27 agree and have to look for the other two."""
    assert tally(states) == text


def test_every_state_has_a_word_for_its_section() -> None:
    """A state would be passed over, and the section read as missing or as ok."""
    words = {state: section_word([State.AGREE, state]) for state in State}
    assert words.pop(State.CANNOT) == "ok"
    assert words.pop(State.AGREE) == "ok"
    assert set(words.values()) == {
        *("DIFFERS", "missing", "float64 only", "stricter", "declared", "ok, reference at fault"),
    }


def test_the_state_of_a_case() -> None:
    """Two things that a reader must tell apart would have one name."""
    faulty = differ(WIDE, fault=Fault.REFERENCE)
    cases: list[tuple[Verdict, Case, State]] = [
        (verdict(sound()), WIDE, State.AGREE),
        (verdict(sound(agree(WIDE, n_compared=0))), WIDE, State.EMPTY),
        (verdict(sound(agree(WIDE, outcome=Outcome.ERROR))), WIDE, State.ERROR),
        (verdict(sound(agree(WIDE, outcome=Outcome.NOT_APPLICABLE, what="it cannot"))), WIDE, State.CANNOT),
        (verdict(sound(faulty)), WIDE, State.ILL_CONDITIONED),
        (verdict(sound(differ(FORWARD))), FORWARD, State.WITNESSED),
        (verdict(sound(differ(WIDE)), [deviation("*/wide")]), WIDE, State.DECLARED),
        (verdict(sound(differ(PARAMS))), PARAMS, State.DIFFERS),
    ]
    for told, case, state in cases:
        assert state_of(case, told.findings.get(case.id), told) is state
    assert state_of(WIDE, None, verdict(sound())) is State.MISSING


def test_equal_findings_are_one_with_a_count(findings: dict[str, Finding], plan: tuple[Case, ...]) -> None:
    """Sixteen equal findings would hide the seventeenth."""
    same = [case for case in plan if case.check == "params"]
    other = next(case for case in plan if case.check == "init")
    wrong = {case.id: differ(case) for case in same} | {other.id: differ(other, got="5")}
    made = view({**findings, **wrong}, plan)
    assert made.verdict.label is Label.BUGGY
    rows = [row for row in made.must_fix() if "got" in row.text]
    assert sorted(len(row.cases) for row in rows) == [1, len(same)]
    folded = next(row for row in rows if len(row.cases) > 1)
    assert folded.told == f"({len(same)} cases) output: got 1, want 2"
    text = cards.render((made,))["sound.md"]
    assert text.count("output: got 1, want 2") == 1
    assert text.count("--case") == len(made.rows)


def test_a_finding_that_several_variants_share_is_one_line_of_the_index() -> None:
    """The index would repeat one remark for each variant."""
    row = Row(Severity.NOTE, "a", "not pinned", "a.py:1", "r.py:1", ("a/x",), note=Note.LINK)
    one, two = shared([row, replace(row, variant="b", cases=("b/x", "b/y")), replace(row, text="else")])
    assert (one.variants, one.told) == (("a", "b"), "(3 cases) not pinned")
    assert one.row.label == "NOTE: link not pinned"
    assert (two.variants, two.told) == (("a",), "else")


def test_findings_in_words() -> None:
    """A reader would not know what was expected, or see a figure of one machine."""
    raised = Finding("c", Outcome.DIFFER, 1, str(RAISED), got="RuntimeError: no", want="the reference returned a value")
    raised = replace(raised, differing=(RAISED,))
    assert describe(raised) == "raised RuntimeError: no; the reference returned a value"
    assert describe(differ(WIDE)) == "output: got 1, want 2"
    assert "1.0001" not in describe(differ(WIDE, numeric=True, got="1.0001"))
    text, what = reference_fault(differ(WIDE, fault=Fault.REFERENCE))
    assert text.startswith(f"`{WIDE.reference}` is ill-conditioned there: ")
    assert what == ("output",)
    said = "is wrong: 2 instead of 1. The closed form agrees with the variant."
    assert reference_fault(differ(WIDE))[0] == f"In `{WIDE.reference}`, output {said}"
    assert f"the shape of output {said}" in reference_fault(differ(WIDE, what="output: shape"))[0]


def test_the_card_leads_with_verdict_findings_and_what_was_compared(findings: dict[str, Finding]) -> None:
    """A reader would scroll through nine sections to the verdict."""
    text = report.render(report.judged((toys.SOUND,), Evidence(findings)))["sound.md"]
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[:3] == ["Findings", "What was compared with what", "1. References"]
    assert text.index("**CORRECT**. ") < text.index("## Findings")
    assert text.index("Not covered:") < text.index("## 1. References")


def test_every_case_is_in_the_table_once(findings: dict[str, Finding], plan: tuple[Case, ...]) -> None:
    """A case would be counted against a baseline that it was not compared with, or twice, or not at all."""
    made = view(findings, plan)
    assert sum(line.n for line in compared(made)) == len(plan)
    assert set(NOT_AGAINST_THE_REFERENCE) <= {check for _, checks in SECTIONS for check in checks}


def test_what_is_not_covered_names_the_cases_that_prove_nothing(
    findings: dict[str, Finding], plan: tuple[Case, ...]
) -> None:
    """A card would read as if the reference had answered everywhere."""
    cannot, ill = (next(case for case in plan if case.check == check) for check in ("init", "forward"))
    changed = {
        cannot.id: Finding(cannot.id, Outcome.NOT_APPLICABLE, what="it takes no float64"),
        ill.id: differ(ill, fault=Fault.REFERENCE),
    }
    lines = not_covered(view({**findings, **changed}, plan))
    assert f"1 case in which `{cannot.reference}` raises an error: it takes no float64" in lines
    assert "1 case in which the reference is ill-conditioned (listed under the findings)" in lines
    assert len(lines) == len(not_covered(view(findings, plan))) + 2


def test_equal_steps_are_one_line(findings: dict[str, Finding], plan: tuple[Case, ...]) -> None:
    """A table would have sixteen equal rows, or hide the shape in which one differs."""
    asked = [case for case in plan if case.check == "low_precision" and case.reference.startswith("peft")]
    facts = [
        StepFacts("bf16", "default", "32 -> 16", (SidePair("g", "survives", "survives"),)),
        StepFacts("bf16", "default", "12 -> 20", (SidePair("g", "survives", "survives"),)),
        StepFacts("f16", "default", "32 -> 16", (SidePair("g", "lost", "survives"),)),
        StepFacts("f16", "default", "12 -> 20", (SidePair("g", "survives", "survives"),)),
    ]
    stated = {case.id: agree(case, facts=None) for case in asked}
    stated |= {case.id: agree(case, facts=each) for case, each in zip(asked, facts)}
    lines = steps(view({**findings, **stated}, plan))
    assert [(line.where, line.subject, line.reference) for line in lines] == [
        ("bf16 + default, f16 + default (12 -> 20)", "g: survives", "the same"),
        ("f16 + default (32 -> 16)", "g: lost", "g: survives"),
    ]


def test_the_first_lines_of_a_partial_card_say_what_deviates() -> None:
    """A reader would see PARTIAL with a count, and search eight sections for the deviation."""
    partial = [entry for entry in ENTRIES if any(d.by_default and not d.scope for d in entry.deviations)]
    assert len(partial) >= 4
    for entry in partial:
        text = (ROOT / "reports" / f"{entry.name}.md").read_text(encoding="utf-8")
        first, _, rest = text.partition("\nAudited: ")
        assert first.startswith(f"# {entry.name}: PARTIAL\n")
        by_default = [d for d in entry.deviations if d.by_default and not d.scope]
        for each in by_default:
            assert f"{each.what}. Declared (section 7)." in first
        assert first.count("\n- ") == len({each.what for each in by_default})
        assert "No undeclared difference." in rest.partition("## What was compared")[0]
        assert not [each.what for each in entry.deviations if not each.by_default and each.what in first]


def test_the_first_lines_say_what_is_stricter(findings: dict[str, Finding], plan: tuple[Case, ...]) -> None:
    """A card would be PARTIAL for what others' code refuses, under a line that names no check and no error."""
    at = next(case for case in plan if case.check == "forward")
    refused = differ(at, kind=Kind.STRICTER, got="TypeError: no", differing=(RAISED,), want="a value")
    made = view({**findings, at.id: refused}, plan)
    assert made.verdict.label is Label.PARTIAL
    first, _, rest = cards.render((made,))["sound.md"].partition("\nAudited: ")
    assert "- stricter than the reference: raised TypeError: no; a value" in first
    assert "**NOTE: stricter than the reference**" in rest
    assert "No undeclared difference." not in rest


def test_a_fault_of_the_reference_is_not_called_ill_conditioned(
    findings: dict[str, Finding], plan: tuple[Case, ...]
) -> None:
    """A card would say that nothing was compared, where the check saw what the reference does wrong."""
    at = next(case for case in plan if case.check == "forward")
    told = "In `peft:gate`, two layers share an array."
    made = view({**findings, at.id: differ(at, fault=Fault.REFERENCE, at_fault=told)}, plan)
    (row,) = (row for row in made.rows if row.case == at.id)
    assert (row.label, row.text) == ("NOTE: fault in the reference", told)
    assert "in 1 the reference is at fault (see the findings)" in made.tally("forward")
    assert not [line for line in not_covered(made) if "ill-conditioned" in line]
