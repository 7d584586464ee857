"""Cards, index and results: the same verdicts give the same bytes, and nothing measured is on them."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from conformance.judging.judge import judge
from conformance.nouns.finding import Case, Finding, Outcome
from conformance.nouns.verdict import Label
from conformance.planning.plan import make_plan
from conformance.reporting import cards, report
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs.settings import Settings
from refs.subject import Subject
from tests.harness import toys
from tests.harness.world import deviation, differ

ENTRIES = (toys.SOUND, toys.SHIFTED)
ROOT = Path(__file__).parents[2]

MEASURED = re.compile(
    r"""
    (?<!\d)\d{1,3}\.\d{5,}            # a float in full
    | (?<![\w.])\d+(\.\d+)?e[-+]?\d+\b  # or with an exponent
    | \b(19|20)\d\d-\d\d-\d\d\b       # a date
    | \b\d\d:\d\d\b                   # a time
    | \b\d+(\.\d+)?\s?(s|ms|seconds|minutes)\b
    | \b0x[0-9a-f]{4,}               # an address; 0x3 is a batch shape
    | (?<![\w.:/])/(home|root|tmp|work|usr)/
    """,
    re.VERBOSE,
)
STATED = re.compile(
    r"```.*?```|Closed form: `[^`]*`|limit 1e-12 relative|step of (1e-3|0\.001)|at most 1e-05"
    r"|between 1e-\d+ and 1e-?\d+|### Pairwise coverage.*?(?=\n## )|(checked|not reached) on [-\d]+( to [-\d]+)?",
    re.DOTALL | re.MULTILINE,
)
"""Formulas, limits, steps and bands that the text states, which nobody measured; dates from the committed record of the
links, which no run of the audit makes."""


MEASURING = ("cost.md", "proof.md", "learning.md", "distributed.md")
"""Reports of figures, and of code with numbers in it."""


def measured(text: str) -> list[str]:
    """What looks like a figure of one run or of one machine."""
    return [found.group() for found in MEASURED.finditer(STATED.sub("", text))]


@pytest.fixture(scope="module")
def files(toy_findings: dict[str, Finding]) -> dict[str, str]:
    """Rendered from the true findings of a sound toy and a wrong one."""
    return report.render(report.judged(ENTRIES, Evidence(toy_findings)))


def test_what_is_rendered(files: dict[str, str]) -> None:
    """A variant would have no card, or the verdict not be on it."""
    assert sorted(files) == ["index.md", "results.json", "shifted.md", "sound.md"]
    assert files["sound.md"].startswith("# sound: CORRECT\n")
    assert files["shifted.md"].startswith("# shifted: BUGGY\n")
    assert "1 BUGGY, 1 CORRECT." in files["index.md"]


def test_the_order_of_the_evidence_does_not_show(files: dict[str, str], toy_findings: dict[str, Finding]) -> None:
    """Two runs of the same code would be a diff in the committed reports."""
    for seed in range(3):
        shuffled = list(toy_findings.items())
        random.Random(seed).shuffle(shuffled)
        assert report.render(report.judged(ENTRIES, Evidence(dict(shuffled)))) == files


def test_figures_of_the_run_do_not_show(files: dict[str, str], toy_findings: dict[str, Finding]) -> None:
    """Another machine's last digits would be a diff in the committed reports."""
    other = {
        case: replace(f, error=f.error * 1.1, limit=f.limit * 2, got="1.0001", want="1.0002") if f.numeric else f
        for case, f in toy_findings.items()
    }
    assert any(f.numeric and f.outcome is Outcome.DIFFER for f in other.values())
    assert report.render(report.judged(ENTRIES, Evidence(other))) == files


def test_nothing_measured_is_on_a_card(files: dict[str, str]) -> None:
    """A time, a duration, a path or a raw float would change from run to run."""
    for name, text in files.items():
        assert measured(text) == [], name


def test_nothing_measured_is_committed() -> None:
    """A time, a duration, a path or a raw float would be on the committed cards, which are compared byte for byte."""
    cards_of = [path for path in (ROOT / "reports").glob("*.md") if path.name not in MEASURING]
    committed = [*cards_of, ROOT / "reports" / "results.json"]
    assert len(committed) >= 3
    for path in committed:
        assert measured(path.read_text(encoding="utf-8")) == [], path.name


@pytest.mark.parametrize(
    "text",
    ["error 0.123456", "2.5e-13", "1E-3".lower(), "2026-11-21", "at 12:30", "took 3.2 s", "at 0x7f00", "in /tmp/x"],
)
def test_what_looks_measured(text: str) -> None:
    """The test above would find nothing because it looks for nothing."""
    assert measured(text)


def test_an_address_in_an_error_does_not_reach_the_card() -> None:
    """A card of a subject that raised would change from run to run."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        raise RuntimeError(f"cannot use {object()!r}\non two lines")

    entry = replace(toys.SOUND, build=build)
    findings = {f.case: f for f in map(run_case, make_plan((entry,)))}
    (view,) = report.judged((entry,), Evidence(findings))
    assert view.verdict.label is Label.BUGGY
    text = report.render((view,))["sound.md"]
    assert measured(text) == []
    assert "RuntimeError: cannot use <object object at 0x...> on two lines" in text


def test_a_card_says_what_is_missing(toy_findings: dict[str, Finding], toy_plan: tuple[Case, ...]) -> None:
    """An UNPROVEN card would not tell its reader what to do."""
    gone = next(case for case in toy_plan if case.variant == "sound" and case.check == "init")
    evidence = Evidence({k: f for k, f in toy_findings.items() if k != gone.id})
    text = report.render(report.judged(ENTRIES, evidence))["sound.md"]
    assert text.startswith("# sound: UNPROVEN\n")
    assert f"conformance audit sound --case '{gone.id}'" in text


def test_a_card_without_a_reference() -> None:
    """A variant without a reference would break the rendering of all others."""
    files = report.render(report.judged((toys.UNREFERENCED,), Evidence({})))
    assert files["unreferenced.md"].startswith("# unreferenced: UNPROVEN\n")
    assert "NO_REFERENCE" in files["unreferenced.md"]


def test_a_card_without_any_evidence(toy_plan: tuple[Case, ...]) -> None:
    """A run that died would end in a traceback and leave the last CORRECT card in its place."""
    files = report.render(report.judged(ENTRIES, Evidence({}, "the run did not end")))
    assert all(files[f"{entry.name}.md"].startswith(f"# {entry.name}: UNPROVEN\n") for entry in ENTRIES)


def test_a_declared_deviation_is_on_the_card_with_its_cases(
    toy_findings: dict[str, Finding], toy_plan: tuple[Case, ...]
) -> None:
    """A declared difference would lower the label without a word on the card, or not be named where it showed."""
    declared = deviation("*/params/t0-?f*16*", by_default=True, what="another dtype")
    cases = [case for case in toy_plan if case.check == "params" and case.probe.startswith("t0-bf16")]
    evidence = {**toy_findings, **{case.id: differ(case) for case in cases if case.variant == "sound"}}
    verdicts = judge(["sound", "shifted"], toy_plan, evidence, {"sound": (declared,)})
    text = cards.render(cards.views(ENTRIES, verdicts, toy_plan))["sound.md"]
    assert text.startswith("# sound: PARTIAL\n")
    assert "**another dtype**" in text
    shown = [case.id for case in cases if f"  - `{case.id}`" in text]
    assert shown == [case.id for case in cases if case.variant == "sound"] != []
