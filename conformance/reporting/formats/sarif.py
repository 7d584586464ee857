"""SARIF 2.1.0: every finding at ``file:line`` of the variant, and of the reference as a related place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.nouns.entry import split_line
from conformance.nouns.finding import Severity
from conformance.nouns.verdict import Deviation
from conformance.reporting.html.names import check_of, of_finding
from conformance.reporting.rows import Row
from conformance.reporting.view import CardView

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT, PACKAGES = "SRCROOT", "SITE_PACKAGES"
GAP = "unproven"
"""The rule of what is missing and is no case."""


def sarif(shown: Sequence[CardView], questions: Mapping[str, str], version: str) -> str:
    """The text of the file. ``questions``: what each check asks, the rules' descriptions."""
    asked = {**questions, GAP: "Is everything there that a verdict needs?"}
    rules = [{"id": check, "shortDescription": {"text": question}} for check, question in asked.items()]
    order = {check: place for place, check in enumerate(asked)}
    results = [_result(row, order) for view in shown for row in view.rows]
    results += [
        _declared(view, deviation, where, order)
        for view in shown
        for scope in (False, True)
        for deviation, where in view.declared(scope)
    ]
    run = {
        "tool": {"driver": {"name": "adapter-conformance", "semanticVersion": version, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {
            ROOT: {"description": {"text": "The root of the checkout."}},
            PACKAGES: {"description": {"text": "Where the reference is installed (site-packages)."}},
        },
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(row: Row, order: Mapping[str, int]) -> dict[str, Any]:
    check = check_of(row.case) or GAP
    reference = place(row.reference_location, "the reference")
    return {
        "ruleId": check,
        "ruleIndex": order.get(check, -1),
        "level": "error" if row.severity is Severity.MUST_FIX else "note",
        "message": {"text": f"{row.variant}: {row.label}: {row.told}\n{row.command}"},
        "locations": [each for each in (place(row.subject_location, ""),) if each],
        "relatedLocations": [{"id": 1, **reference}] if reference else [],
        "partialFingerprints": {"finding/v1": f"{row.variant}-{of_finding(row)}"},
    }


def _declared(view: CardView, deviation: Deviation, where: Sequence[str], order: Mapping[str, int]) -> dict[str, Any]:
    check = check_of(where[0]) or GAP
    first = view.verdict.findings.get(where[0])
    mine, other = (first.subject_at, first.reference_at) if first is not None else ("", "")
    reference = place(other or view.reference_location, "the reference")
    return {
        "ruleId": check,
        "ruleIndex": order.get(check, -1),
        "level": "note",
        "message": {"text": f"{view.name}: declared: {deviation.what} ({deviation.link})"},
        "locations": [each for each in (place(mine or view.entry.location, ""),) if each],
        "relatedLocations": [{"id": 1, **reference}] if reference else [],
        "partialFingerprints": {"finding/v1": f"{view.name}-declared-{check}-{deviation.what}"},
        "suppressions": [{"kind": "inSource", "status": "accepted", "justification": deviation.why}],
    }


def place(location: str, words: str) -> dict[str, Any] | None:
    """A location object for ``file:line``; None where the place is not known."""
    file, line, name = split_line(location)
    if not line:
        return None
    # A package's file is named from the folder in which packages are installed.
    base = PACKAGES if name else ROOT
    made: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": file, "uriBaseId": base},
            "region": {"startLine": line},
        }
    }
    if name:
        made["logicalLocations"] = [{"fullyQualifiedName": name}]
    if words:
        made["message"] = {"text": words}
    return made
