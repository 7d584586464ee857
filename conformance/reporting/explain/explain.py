"""One case in full, as text or as plain data. Pure but for the building of both sides, which writes the code."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.measuring.trial import SubjectFailed, Trial
from conformance.nouns.finding import Finding
from conformance.planning.plan import Planned
from conformance.reporting.explain.limits import origin
from conformance.reporting.explain.meaning import Meaning
from conformance.reporting.explain.snippet import Attached, snippet

WIDTH = 110
Write = Callable[[Any], tuple[tuple[str, ...], tuple[str, ...]] | None]
"""``(subject) -> imports and lines`` of a library's own user, or None if it does not know the subject."""


@dataclass(frozen=True)
class Explained:
    """Everything that is told of a case."""

    planned: Planned
    finding: Finding
    ruling: str
    code: str
    needs: str
    meaning: Meaning

    def data(self) -> dict[str, Any]:
        """Plain data. Figures that are no numbers are words: JSON has no NaN."""
        p, f = self.planned, self.finding
        return {
            "case": p.case.id,
            "question": p.check.question,
            "formula": {"subject": p.entry.math, "reference": p.reference.math},
            "subject": f.subject_at or p.entry.location,
            "reference_at": f.reference_at,
            "reference": p.reference.id,
            "outcome": f.outcome.value,
            "compared": f.n_compared,
            "worst": {"what": f.what, "where": f.where, "got": f.got, "want": f.want},
            "reads_as": f.explained,
            "error": _json(f.error),
            "limit": _json(f.limit),
            "limit_from": origin(p.check.name, p.probe, f),
            "judge": self.ruling,
            "code": self.code,
            "code_needs": self.needs,
            "seeded_faults": {"detected": self.meaning.n, "some": list(self.meaning.told)},
        }

    def text(self) -> str:
        """For a terminal."""
        p, f = self.planned, self.finding
        parts = [
            p.case.id,
            _titled("Question", [p.check.question]),
            _titled("Formula", _formulas(p)),
            _titled("Configuration as code", [f"needs {self.needs}; `conformance explain --code` prints it alone"]),
            textwrap.indent(self.code.rstrip(), "    "),
            _titled("Result", _result(p, f)),
            _titled("Limit", [*([f"{f.limit:.3g}"] if f.limit else []), origin(p.check.name, p.probe, f)]),
            _titled("Judge", [self.ruling]),
            _titled(f"What a difference in {p.check.name} usually means", _meant(self.meaning, p.check.name)),
        ]
        return "\n\n".join(parts) + "\n"


def explain(
    planned: Planned, finding: Finding, ruling: str, *, place: str, write: Write, meaning: Meaning
) -> Explained:
    """``place``: MODULE:ATTRIBUTE of the entries; ``write``: what a library's user would write, where it says so."""
    code, needs = snippet(planned, _attached(planned, write), place)
    return Explained(planned, finding, ruling, code, needs, meaning)


def _attached(planned: Planned, write: Write) -> Attached | None:
    if planned.probe.label:
        return None
    try:
        subject = Trial(planned.entry, planned.reference, planned.probe, planned.check.name).subject()
    except SubjectFailed:  # the finding says so; the code then asks through the harness
        return None
    written = write(subject)
    return Attached(*written) if written is not None else None


def _formulas(planned: Planned) -> list[str]:
    ours = planned.entry.math or "(the docstring of the module holds none)"
    return [
        f"{planned.entry.name} ({planned.entry.location}):",
        ours,
        f"{planned.reference.id}:",
        planned.reference.math,
    ]


def _result(planned: Planned, f: Finding) -> list[str]:
    at = f" at {f.where}" if f.where else ""
    lines = [f"{f.outcome}: {f.n_compared} numbers compared", f"{f.what}{at}"]
    lines += [f"reads as: {f.explained}"] if f.explained else []
    lines += [f"got  {f.got}   ({planned.entry.name})", f"want {f.want}   ({planned.reference.id})"]
    return [*lines, *([f"error {f.error:.3g}, limit {f.limit:.3g}"] if f.limit else [])]


def _meant(meaning: Meaning, check: str) -> list[str]:
    if not meaning.recorded:
        return [
            "No reports/proof.json in this folder, so seeded faults cannot be listed. Run the command in a checkout of "
            "the suite."
        ]
    if not meaning.n:
        return [f"reports/proof.json records no seeded fault that {check} detected."]
    return [f"{check} detected {meaning.n} seeded faults, among them:", *(f"- {told}" for told in meaning.told)]


def _titled(title: str, lines: Sequence[str]) -> str:
    body = []
    for line in "\n".join(lines).split("\n"):
        whole = len(line) <= WIDTH or line.startswith(" ")
        body += [line] if whole else textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"{title}\n" + textwrap.indent("\n".join(body), "    ")


def _json(value: float) -> float | str:
    return value if value == value and abs(value) != float("inf") else str(value)
