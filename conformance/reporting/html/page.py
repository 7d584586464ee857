"""What the page of one variant shows, as plain data for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from conformance.nouns.finding import Case, Finding
from conformance.reporting.html import figures, lines
from conformance.reporting.html.dots import Dot, error_against_limit
from conformance.reporting.html.names import MARKS, WORDS, figure, of_case, of_finding, section_of
from conformance.reporting.rows import Row
from conformance.reporting.state import State, state_of
from conformance.reporting.tables import compared, not_covered, steps
from conformance.reporting.view import SECTIONS, WAYS, CardView


@dataclass(frozen=True)
class Listed:
    """A finding in a list."""

    anchor: str
    section: str
    row: Row
    first: str
    """Anchor of the case that reproduces it; empty if it is no case."""


@dataclass(frozen=True)
class CaseRow:
    """A case in its check's table."""

    anchor: str
    case: Case
    kind: str
    state: State
    finding: Finding | None

    @property
    def error(self) -> str:
        """Error and limit in two digits, or nothing where no number was compared."""
        f = self.finding
        return f"{figure(f.error)} / {figure(f.limit)}" if f is not None and f.limit else ""


@dataclass(frozen=True)
class CheckTable:
    """Every case of a check."""

    name: str
    question: str
    tally: str
    kind: str
    rows: tuple[CaseRow, ...]


@dataclass(frozen=True)
class Page:
    """One variant: everything that its template reads."""

    library: str
    view: CardView
    costs: Mapping[str, Any]
    questions: Mapping[str, str]
    learned: Sequence[Mapping[str, Any]] = ()
    """Rows of ``learning.json`` on this variant."""

    @property
    def place(self) -> str:
        """The file, from the root of the site."""
        return f"{self.library}/{self.view.name}.html"

    @cached_property
    def listed(self) -> tuple[Listed, ...]:
        """The findings, worst first."""
        of = {case.id: of_case(case) for case in self.view.planned}
        return tuple(Listed(of_finding(row), section_of(row.case), row, of.get(row.case, "")) for row in self.view.rows)

    @cached_property
    def cases(self) -> tuple[CaseRow, ...]:
        """Every planned case with what became of it."""
        verdict = self.view.verdict
        made = []
        for case in self.view.planned:
            finding = verdict.findings.get(case.id)
            state = state_of(case, finding, verdict)
            made.append(CaseRow(of_case(case), case, MARKS[state], state, finding))
        return tuple(made)

    @property
    def tables(self) -> list[CheckTable]:
        """One table a check, in the order of the card's sections."""
        made = []
        for _, checks in SECTIONS:
            for check in checks:
                rows = tuple(row for row in self.cases if row.case.check == check)
                if rows:
                    worst = max((row.kind for row in rows), key=list(WORDS).index)
                    made.append(CheckTable(check, self.questions.get(check, ""), self.view.tally(check), worst, rows))
        return made

    @property
    def dots(self) -> str:
        """Error against limit."""
        order = [check for _, checks in SECTIONS for check in checks]
        shown = [
            Dot(row.case, row.finding, row.state)
            for row in sorted(self.cases, key=lambda row: (order.index(row.case.check), row.case))
            if row.finding is not None and row.finding.limit > 0
        ]
        return error_against_limit("dots", shown)

    @property
    def without_limit(self) -> int:
        """How many cases compare words, shapes or bits, and so are no dot."""
        return sum(row.finding is not None and not row.finding.limit > 0 for row in self.cases)

    @property
    def flow(self) -> str:
        """Gradient flow at t=0."""
        return figures.gradient_flow("flow", self.view.flow) if self.view.flow is not None else ""

    @property
    def starts(self) -> str:
        """Initial distributions."""
        return lines.initial_distributions("starts", self.view.drawn)

    @property
    def curves(self) -> str:
        """Loss curves, from the committed runs on tiny models."""
        return lines.loss_curves("curves", self.learned)

    @property
    def timed(self) -> list[dict[str, Any]]:
        """Measured times, for our own variants."""
        return figures.timed_at(self.costs, self.view.name)

    @property
    def cost(self) -> str:
        """Cost beside peft."""
        return figures.cost_of_one("cost", self.timed)

    @property
    def ways(self) -> list[tuple[str, str]]:
        """What can be done with it."""
        return [(name, self.view.way(check, pattern)) for name, check, pattern in WAYS]

    @property
    def baselines(self) -> Sequence[Any]:
        """What was compared with what."""
        return compared(self.view)

    @property
    def not_covered(self) -> Sequence[str]:
        """What the page says nothing about."""
        return not_covered(self.view)

    @property
    def steps(self) -> Sequence[Any]:
        """What one step does in each dtype."""
        return steps(self.view)
