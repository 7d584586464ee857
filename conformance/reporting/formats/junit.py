"""JUnit XML: a suite per variant, a test per planned case. No times: equal evidence gives equal bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as xml

from conformance.nouns.entry import split_line
from conformance.nouns.finding import Case, Finding
from conformance.reporting.rows import reference_fault
from conformance.reporting.state import State, state_of
from conformance.reporting.view import CardView

ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML file may hold, not even escaped."""
ERRORS = (State.MISSING, State.ERROR, State.EMPTY, State.UNDECIDED)
SKIPPED = (State.FLOAT64, State.STRICTER, State.DECLARED, State.ILL_CONDITIONED, State.CANNOT)
"""Nothing that agrees was seen there, and the variant is not at fault: a skipped test with its reason."""


def junit(shown: Sequence[CardView]) -> str:
    """The text of the file."""
    suites = [_suite(view) for view in shown]
    root = xml.Element("testsuites", _totals(suites) | {"name": "conformance"})
    root.extend(suites)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _totals(suites: Sequence[xml.Element]) -> dict[str, str]:
    return {
        key: str(sum(int(suite.get(key, "0")) for suite in suites))
        for key in ("tests", "failures", "errors", "skipped")
    }


def _suite(view: CardView) -> xml.Element:
    tests = [_test(view, case, view.verdict.findings.get(case.id)) for case in view.planned]
    planned = {case.id for case in view.planned}
    tests += [_gap(view, name, why) for name, why in view.verdict.unproven if name not in planned]
    counts = {
        key: str(sum(test.find(tag) is not None for test in tests))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    suite = xml.Element("testsuite", {"name": view.name, "tests": str(len(tests)), **counts})
    properties = xml.SubElement(suite, "properties")
    xml.SubElement(properties, "property", {"name": "verdict", "value": view.verdict.label.value})
    xml.SubElement(properties, "property", {"name": "reason", "value": _legal(view.verdict.reason)})
    suite.extend(tests)
    return suite


def _test(view: CardView, case: Case, finding: Finding | None) -> xml.Element:
    file, line, _ = split_line((finding.subject_at if finding is not None else "") or view.entry.location)
    where = {
        "classname": f"{case.variant}.{case.reference}.{case.check}",
        "name": case.probe,
        "file": file,
        "line": str(line),
    }
    test = xml.Element("testcase", {key: _legal(value) for key, value in where.items()})
    state = state_of(case, finding, view.verdict)
    told = {"message": _legal(_told(view, case, finding, state))}
    if state is State.DIFFERS:
        xml.SubElement(test, "failure", told | {"type": "DIFFER"}).text = _legal(finding.message() if finding else "")
    elif state in ERRORS:
        xml.SubElement(test, "error", told | {"type": state.name})
    elif state in SKIPPED:
        xml.SubElement(test, "skipped", told)
    elif state in (State.WITNESSED, State.FAULTY):
        xml.SubElement(test, "system-out").text = told["message"]
    return test


def _gap(view: CardView, name: str, why: str) -> xml.Element:
    """What is missing and is no case: a check that was never answered, a reference that is not there."""
    test = xml.Element("testcase", {"classname": f"{view.name}.unproven", "name": _legal(name)})
    xml.SubElement(test, "error", {"message": _legal(why), "type": "UNPROVEN"})
    return test


def _told(view: CardView, case: Case, finding: Finding | None, state: State) -> str:
    if finding is None:
        return str(state)
    if state is State.DECLARED:
        what = next((d.what for d, where in view.verdict.declared if case.id in where), "")
        return f"differs as declared: {what}"
    if state in (State.WITNESSED, State.FAULTY, State.ILL_CONDITIONED):
        return reference_fault(finding)[0]
    told = finding.in_words if finding.what else f"{state}: got {finding.got}, want {finding.want}"
    return told + (f" at {finding.where}" if finding.where else "")


def _legal(text: str) -> str:
    return ILLEGAL.sub("?", text)
