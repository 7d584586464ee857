"""JUnit XML, SARIF, annotations, summary and badges: read back by parsers, with what the judge said."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import jsonschema
import pytest

from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.verdict import Label
from conformance.reporting import report
from conformance.reporting.formats.badge import COLOURS, badge
from conformance.reporting.formats.hosted import annotated, summary
from conformance.reporting.formats.junit import junit
from conformance.reporting.formats.sarif import PACKAGES, ROOT, place, sarif
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from tests.harness import toys
from tests.harness.world import deviation
from tests.site.conftest import QUESTIONS

SUBSET = json.loads(Path(__file__).with_name("sarif_subset.json").read_text(encoding="utf-8"))


def declared(findings: dict[str, Finding]) -> CardView:
    """The wrong toy with everything declared."""
    entry = replace(toys.SHIFTED, deviations=(deviation("*", what="all of it", why="because, so"),))
    return report.judged((entry,), Evidence(findings))[0]


def test_junit_counts_what_the_judge_counted(shown: tuple[CardView, ...]) -> None:
    """A hosted CI would show a green run of a wrong variant."""
    suites = {suite.get("name"): suite for suite in xml.fromstring(junit(shown))}
    assert list(suites) == ["sound", "shifted", "unreferenced"]
    sound, shifted, unreferenced = suites.values()
    assert (sound.get("failures"), sound.get("errors")) == ("0", "0")
    assert len(sound.findall("testcase")) == len(shown[0].planned)
    assert int(shifted.get("failures", "0")) == len(shown[1].verdict.buggy) > 3
    assert len(shifted.findall("testcase/failure")) == len(shown[1].verdict.buggy)
    assert int(unreferenced.get("errors", "0")) == 1
    root = xml.fromstring(junit(shown))
    assert int(root.get("failures", "0")) == sum(int(suite.get("failures", "0")) for suite in root)


def test_junit_says_where_and_how_to_reproduce(shown: tuple[CardView, ...]) -> None:
    """A failure would be a name without figures."""
    test = next(t for t in xml.fromstring(junit(shown[1:2])).iter("testcase") if t.find("failure") is not None)
    failure = test.find("failure")
    assert failure is not None
    assert "conformance audit shifted --case" in str(failure.text)
    assert test.get("file") == "tests/harness/toys.py"
    assert int(test.get("line", "0")) > 1


def test_junit_of_a_declared_difference_is_skipped_with_its_reason(findings: dict[str, Finding]) -> None:
    """A declared difference would fail, or pass without a word."""
    suite = xml.fromstring(junit([declared(findings)]))[0]
    told = [each.get("message", "") for each in suite.iter("skipped")]
    assert suite.get("failures") == "0"
    assert told
    assert all("all of it" in each for each in told)


def test_junit_holds_no_character_that_xml_forbids(findings: dict[str, Finding]) -> None:
    """One error message with a control character would make the whole file unreadable."""
    case = next(case for case, f in findings.items() if case.startswith("shifted/") and f.outcome is Outcome.DIFFER)
    odd = {**findings, case: replace(findings[case], got="\x00\x1b[31m\ud800 <&>", what="a\x0bb")}
    text = junit(report.judged((toys.SHIFTED,), Evidence(odd)))
    text.encode("utf-8")
    assert xml.fromstring(text).get("tests")


def test_sarif_has_the_form_of_its_schema(shown: tuple[CardView, ...], findings: dict[str, Finding]) -> None:
    """A viewer would refuse the file. The schema is the part of SARIF 2.1.0 in use, written by hand."""
    for views in (shown, [declared(findings)], []):
        jsonschema.validate(json.loads(sarif(views, QUESTIONS, "0.1.0")), SUBSET)


BROKEN = pytest.mark.parametrize(
    "broken",
    [
        lambda log: log["runs"][0]["results"][0].pop("message"),
        lambda log: log["runs"][0]["results"][0].update(level="fatal"),
        lambda log: log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0),
        lambda log: log["runs"][0]["tool"]["driver"].update(semanticVersion="one"),
        lambda log: log.update(version="2.0.0"),
    ],
)
"""What makes a file no SARIF any more."""


@BROKEN
def test_the_schema_refuses_what_is_no_sarif(broken: Any, shown: tuple[CardView, ...]) -> None:
    """The test above would pass whatever is written."""
    log = json.loads(sarif(shown, QUESTIONS, "0.1.0"))
    broken(log)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, SUBSET)


def whole() -> Any:
    """The model of a SARIF log, made from the official schema: every property, and no other, with its type."""
    model = pytest.importorskip("pydantic_sarif.model")
    (log,) = (each for each in vars(model).values() if {"version", "runs"} <= {*getattr(each, "model_fields", ())})
    return log


def test_sarif_has_the_form_of_the_official_schema(shown: tuple[CardView, ...], findings: dict[str, Finding]) -> None:
    """The part that is written down here could have a mistake of its own."""
    log = whole()
    for views in (shown, [declared(findings)], []):
        # The package was made from a draft of 2.1.0, in which the status of a suppression is called its state.
        text = sarif(views, QUESTIONS, "0.1.0").replace('"status": "accepted"', '"state": "accepted"')
        read = log.model_validate_json(text)
        assert len(read.runs[0].results) == len(json.loads(text)["runs"][0]["results"])


@BROKEN
def test_the_official_schema_refuses_what_is_no_sarif(broken: Any, shown: tuple[CardView, ...]) -> None:
    """The test above would pass whatever is written."""
    text = json.loads(sarif(shown, QUESTIONS, "0.1.0"))
    broken(text)
    if text["runs"][0]["tool"]["driver"]["semanticVersion"] == "one":
        pytest.skip("the official schema takes any text for a version; the specification does not")
    with pytest.raises(ValueError, match="validation error"):
        whole().model_validate(text)


def test_sarif_names_both_sides_of_every_finding(shown: tuple[CardView, ...]) -> None:
    """A finding would point at the variant only, or at a rule that does not exist."""
    (run,) = json.loads(sarif(shown, QUESTIONS, "0.1.0"))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(run["results"]) == sum(len(view.rows) for view in shown)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        where = result["locations"][0]["physicalLocation"]
        assert where["artifactLocation"] == {"uri": "tests/harness/toys.py", "uriBaseId": ROOT}
    prints = Counter(result["partialFingerprints"]["finding/v1"] for result in run["results"])
    assert set(prints.values()) == {1}
    related = [each for result in run["results"] for each in result["relatedLocations"]]
    assert any(each["physicalLocation"]["artifactLocation"]["uriBaseId"] == PACKAGES for each in related)


@pytest.mark.parametrize(
    ("location", "uri", "line", "base"),
    [
        ("variants/dora.py:53", "variants/dora.py", 53, ROOT),
        ("peft/tuners/lora/dora.py:62 (DoraLinearLayer)", "peft/tuners/lora/dora.py", 62, PACKAGES),
    ],
)
def test_places_as_cards_name_them(location: str, uri: str, line: int, base: str) -> None:
    """An editor would open another file."""
    found = place(location, "")
    assert found is not None
    assert found["physicalLocation"] == {
        "artifactLocation": {"uri": uri, "uriBaseId": base},
        "region": {"startLine": line},
    }
    assert place("unknown", "") is None


def test_a_declared_difference_is_suppressed_with_its_reason(findings: dict[str, Finding]) -> None:
    """A viewer would list what the variant declares among what must be fixed."""
    results = json.loads(sarif([declared(findings)], QUESTIONS, "0.1.0"))["runs"][0]["results"]
    kept = [result for result in results if "suppressions" in result]
    assert kept
    assert kept[0]["suppressions"][0]["justification"] == "because, so"
    assert kept[0]["level"] == "note"


def test_annotations_are_one_line_each_at_a_line(shown: tuple[CardView, ...]) -> None:
    """A finding with a line break would end the command early, and the rest be printed as a log."""
    lines = annotated(shown).splitlines()
    assert len(lines) == sum(len(view.rows) for view in shown)
    for line in lines:
        found = re.fullmatch(r"::(error|notice) file=([^,:]+),line=(\d+),title=([^,:]+)::(.+)", line)
        assert found, line
        assert found[2] == "tests/harness/toys.py"
    assert sum(line.startswith("::error") for line in lines) == sum(len(view.must_fix()) for view in shown)
    assert annotated(shown[:1]).count("::error") == 0


def test_annotations_escape(findings: dict[str, Finding]) -> None:
    """A message of foreign code could issue commands to the CI."""
    case = next(case for case, f in findings.items() if case.startswith("shifted/") and f.outcome is Outcome.DIFFER)
    odd = {case: replace(findings[case], got="50%\r\n::add-mask::x", numeric=False)}
    lines = annotated(report.judged((toys.SHIFTED,), Evidence({**findings, **odd}))).splitlines()
    assert all(line.startswith(("::error ", "::notice ")) for line in lines)
    assert any("50%25%0D%0A::add-mask::x" in line for line in lines)


def test_the_summary_says_what_must_be_fixed(shown: tuple[CardView, ...]) -> None:
    """A reader of a pull request would have to open the log."""
    text = summary(shown)
    assert "1 BUGGY, 1 UNPROVEN, 1 CORRECT" in text
    assert "| shifted | **BUGGY** |" in text
    assert "conformance audit shifted --case" in text
    assert "Nothing must be fixed" in summary(shown[:1])


@pytest.mark.parametrize("label", list(Label))
def test_badges_are_svg_and_can_be_read(label: Label) -> None:
    """A badge would be a broken image, or white on yellow."""
    root = xml.fromstring(badge("a<b", label))
    assert root.get("aria-label") == f"a<b: {label}"
    assert [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")] == ["a<b", label.value]
    assert badge("a<b", label) == badge("a<b", label)
    assert contrast("#ffffff", COLOURS[label]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The ratio of luminances that WCAG 2 defines."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_format_says_where_somebody_elses_entries_are(findings: dict[str, Finding]) -> None:
    """The command in hosted CI would look for the variant among this repository's own."""
    shown = report.judged((toys.SHIFTED,), Evidence(findings), "audit_mine.py:ENTRY")
    for text in (annotated(shown), summary(shown), sarif(shown, QUESTIONS, "0.1.0")):
        assert "conformance audit shifted --entries audit_mine.py:ENTRY --case 'shifted/" in text
