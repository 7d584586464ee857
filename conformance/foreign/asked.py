"""What a project's own tests ask: the plan of one entry check by check, judged as on the card."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.foreign.conforms import ENTRY, VERDICT
from conformance.foreign.constructor import put_by_names
from conformance.foreign.entry import entry
from conformance.foreign.preflight import preflight
from conformance.judging.judge import LOCK, judge
from conformance.judging.needed import needed
from conformance.measuring.trial import frame_of, in_words
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case, Finding
from conformance.nouns.verdict import Label
from conformance.planning.names import BadRequest
from conformance.planning.plan import Planned, make_plan
from conformance.reporting.rows import Row, describe
from conformance.reporting.view import CardView
from conformance.running.global_state import pinned
from conformance.running.run import run_case
from refs.reference import Method


@dataclass(frozen=True)
class Answer:
    """What one test says: a failure (nothing if it passes), and what is listed without being one."""

    wrong: str = ""
    minor: tuple[str, ...] = ()


@dataclass
class Asked:
    """The plan of one's own code against a method. ``code``: a class, or a function of layer and settings.

    Nothing is raised for a wrong entry: ``problem`` holds what is wrong, and the one test says so.
    """

    code: Any
    method: str | Method
    more: Mapping[str, Any]
    problem: str = ""
    plan: dict[str, list[Planned]] = field(default_factory=dict)
    evidence: dict[str, Finding] = field(default_factory=dict)
    made: Entry | None = None

    def __post_init__(self) -> None:
        with pinned():  # a project's collection draws no number of its generators
            try:
                self.made = self._entry()
                preflight((self.made,))
                for planned in make_plan((self.made,)):
                    self.plan.setdefault(planned.case.check, []).append(planned)
            except BadRequest as error:
                self.problem = str(error)
            except Exception as error:  # somebody's code, or an own reference: the other tests are to be collected
                self.problem = f"the entry cannot be made: {in_words(error)}{frame_of(error)}"

    def _entry(self) -> Entry:
        name, more = re.sub(r"^test_", "", self.code.__name__), dict(self.more)
        if not inspect.isclass(self.code):
            return entry(name, self.method, self.code, **more)
        return entry(name, self.method, put_by_names(self.code), **{"code": self.code, **more})

    @property
    def entry(self) -> Entry:
        """For ``--entries``. BadRequest with what is wrong if there is none."""
        if self.made is None:
            raise BadRequest(self.problem)
        return self.made

    @property
    def names(self) -> tuple[str, ...]:
        """The tests: the checks that are asked, and the verdict."""
        return (ENTRY,) if self.problem else (*self.plan, VERDICT)

    def answer(self, name: str, place: str) -> Answer:
        """What the test of that name says. ``place``: FILE:NAME, for the commands that show a finding again."""
        if self.problem:
            return Answer(self.problem)
        if name == VERDICT:
            return self._verdict(place)
        planned = self.plan[name] if name == LOCK else [*self.plan.get(LOCK, ()), *self.plan[name]]
        view = self._judged(planned, place, (name,))
        own = {p.case.id for p in self.plan[name]} | {name}
        failing = {d.case.id for d in view.verdict.buggy} | {where for where, _ in view.verdict.unproven}
        rows = [row for row in view.rows if failing & own & set(row.cases)]
        minor = tuple(f"{d.finding.kind}: {describe(d.finding)} ({d.case.id})" for d in view.verdict.minor)
        return Answer("\n\n".join(self._told(view, row) for row in rows), minor if name != LOCK else ())

    def _verdict(self, place: str) -> Answer:
        """The label of the card, which also fails for a deviation that does not show and for a check without a case."""
        view = self._judged([p for planned in self.plan.values() for p in planned], place, needed(self.entry))
        if view.verdict.label in (Label.CORRECT, Label.PARTIAL):
            return Answer()
        told = f"{view.verdict.label}: {view.verdict.reason}"
        missing = [row for row in view.must_fix() if not any(case in self.evidence for case in row.cases)]
        command = f"conformance audit --entries {place}"
        return Answer("\n\n".join([f"{told}\n  {command}", *(self._told(view, row) for row in missing)]))

    def _judged(self, planned: Sequence[Planned], place: str, must: Sequence[str]) -> CardView:
        """The verdict on these cases alone; each case is asked once in a run."""
        for each in planned:
            if each.case.id not in self.evidence:
                self.evidence[each.case.id] = run_case(each)
        cases: list[Case] = [each.case for each in planned]
        found = {case.id: self.evidence[case.id] for case in cases}
        (verdict,) = judge([self.entry.name], cases, found, {self.entry.name: self.entry.deviations}, needed=must)
        return CardView(self.entry, verdict, tuple(cases), place)

    def _told(self, view: CardView, row: Row) -> str:
        """The card's line, what was measured in the case that reproduces it, and the command."""
        lines = [row.told]
        finding = self.evidence.get(row.case)
        if finding is not None and finding.limit:
            lines.append(
                f"  got {finding.got}, want {finding.want}; error {finding.error:.3g}, limit {finding.limit:.3g}"
            )
        return "\n".join([*lines, f"  {view.command(row)}"])
