"""Names of places on the site: the same finding and the same case have the same link on every run."""

from __future__ import annotations

import hashlib
import math

from conformance.nouns.finding import Case
from conformance.reporting.rows import Row
from conformance.reporting.state import State
from conformance.reporting.view import SECTIONS

MARKS: dict[State, str] = {
    State.AGREE: "ok",
    State.FLOAT64: "minor",
    State.STRICTER: "minor",
    State.DECLARED: "declared",
    State.WITNESSED: "reference",
    State.FAULTY: "reference",
    State.ILL_CONDITIONED: "reference",
    State.CANNOT: "reference",
    State.DIFFERS: "bad",
    State.MISSING: "missing",
    State.ERROR: "missing",
    State.UNDECIDED: "missing",
    State.EMPTY: "missing",
}
"""Class of a state in the style sheet and in the figures."""

WORDS: dict[str, str] = {
    "ok": "agrees",
    "declared": "differs as declared",
    "reference": "the reference is at fault",
    "minor": "differs in float64 only, or is stricter",
    "bad": "DIFFERS",
    "missing": "missing",
}
"""The classes in words, the order of the legend."""

OF_CELL: dict[str, str] = {
    "ok": "ok",
    "ok, reference at fault": "reference",
    "declared": "declared",
    "stricter": "minor",
    "float64 only": "minor",
    "DIFFERS": "bad",
    "missing": "missing",
    "not tested": "missing",
}
"""Class of a section's word."""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def of_finding(row: Row) -> str:
    """Anchor of a finding: its check, and a hash of what is said and where it shows first."""
    return f"finding-{check_of(row.case) or 'run'}-{_short(f'{row.variant} {row.case} {row.text}')}"


def of_case(case: Case) -> str:
    """Anchor of a case on its variant's page."""
    return f"case-{case.check}-{_short(case.within)}"


def check_of(case: str) -> str:
    """The check of a case id; empty for the name of something that is missing."""
    parts = case.split("/", 3)
    return parts[2] if len(parts) == 4 else ""


def section_of(case: str) -> str:
    """The card's section that a case id belongs to; empty if it has none."""
    check = check_of(case)
    return next((name for name, checks in SECTIONS if check in checks), "")


def figure(value: float) -> str:
    """A measured figure in two digits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.2g}"
