"""What a card shows, computed from a verdict: plain data for the templates, nothing measured anew."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeVar

from conformance.nouns.entry import Entry
from conformance.nouns.facts import (
    Answer,
    BasisFacts,
    Facts,
    FlowFacts,
    InfluenceFacts,
    InitFacts,
    LinkFacts,
    LockFacts,
    ParamsFacts,
    Pinned,
    StepFacts,
    SubspaceFacts,
    Use,
)
from conformance.nouns.finding import Case, Fault, Finding, Outcome, Severity
from conformance.nouns.verdict import Deviation, Label, Verdict

F = TypeVar("F", bound=Facts)

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("references", ("references",)),
    ("params", ("params", "influence", "refusals")),
    ("init", ("init", "data_init", "reconstruction", "ranks", "gradients")),
    ("dtype", ("low_precision",)),
    ("forward", ("forward", "steering", "contraction", "orthogonality")),
    ("lifecycle", ("detach", "checkpoint", "merge", "coexistence")),
    ("use", ("quantised", "execution_modes", "exchange")),
)
"""Sections of the card in order, and the checks each is made of."""

WAYS: tuple[tuple[str, str, str], ...] = (
    ("4-bit", "quantised", "*-[nf]*4"),
    ("8-bit", "quantised", "*-int8"),
    ("compile", "execution_modes", "*-compile"),
    ("activation checkpointing", "execution_modes", "*-recompute"),
    ("autocast", "execution_modes", "*-autocast"),
    ("deepcopy", "execution_modes", "*-deepcopy"),
    ("pickle", "execution_modes", "*-pickle"),
    ("functional_call", "execution_modes", "*-functional_call"),
    ("cast", "execution_modes", "*-cast"),
    ("peft export", "exchange", "peft-export*"),
    ("peft import", "exchange", "peft-import*"),
    ("merge", "merge", "*"),
)
"""What may be done with an adapted layer, the columns of the index's second table: name, check, pattern over probes."""


@dataclass(frozen=True)
class Row:
    """A finding for a list: what, where on both sides, and how to see it again."""

    severity: Severity
    variant: str
    text: str
    subject_location: str
    reference_location: str
    case: str


@dataclass(frozen=True)
class View:
    """Everything the card's template reads."""

    entry: Entry
    verdict: Verdict
    planned: tuple[Case, ...]

    @property
    def name(self) -> str:
        """The variant."""
        return self.entry.name

    @property
    def main(self) -> str:
        """Id of the reference that the card leads with."""
        return self.entry.method.main.id if self.entry.method is not None else ""

    def findings(self, check: str, reference: str = "") -> list[tuple[Case, Finding | None]]:
        """Planned cases of a check with what was found, in the plan's order; of one reference, if it is named."""
        return [
            (case, self.verdict.findings.get(case.id))
            for case in self.planned
            if case.check == check and reference in ("", case.reference)
        ]

    def stated(self, kind: type[F], check: str, reference: str = "") -> list[tuple[Case, F]]:
        """Every fact of a kind that a check states; against one reference, if it is named."""
        pairs = self.findings(check, reference)
        return [(case, f.facts) for case, f in pairs if f is not None and isinstance(f.facts, kind)]

    def first(self, kind: type[F], check: str, reference: str = "") -> F | None:
        """The first fact of a kind that a check states, against the main reference unless another is named."""
        return next((facts for _, facts in self.stated(kind, check, reference or self.main)), None)

    def lock(self, reference: str) -> LockFacts | None:
        """What the lock says of a reference."""
        return self.first(LockFacts, "references", reference)

    @property
    def links(self) -> LinkFacts | None:
        """What the links say."""
        return self.first(LinkFacts, "references")

    @property
    def params(self) -> ParamsFacts | None:
        """The tensors of both sides under the first test configuration."""
        return self.first(ParamsFacts, "params")

    @property
    def idle(self) -> tuple[str, ...]:
        """Tensors that do not change the output."""
        facts = self.first(InfluenceFacts, "influence")
        return facts.idle if facts is not None else ()

    @property
    def init(self) -> InitFacts | None:
        """How the tensors start."""
        return self.first(InitFacts, "init")

    @property
    def flow(self) -> FlowFacts | None:
        """Gradient flow at t=0."""
        return self.first(FlowFacts, "gradients")

    @property
    def steps(self) -> list[StepFacts]:
        """What one step does in each dtype."""
        return [facts for _, facts in self.stated(StepFacts, "low_precision", self.main)]

    @property
    def subspaces(self) -> list[SubspaceFacts]:
        """How near a start from data comes to the exact subspace, per set of inputs."""
        return [facts for _, facts in self.stated(SubspaceFacts, "data_init")]

    @property
    def bases(self) -> list[tuple[Case, BasisFacts]]:
        """How near both sides' bases are."""
        return self.stated(BasisFacts, "data_init")

    def tally(self, check: str, reference: str = "") -> str:
        """How many cases of a check agree, and what became of the others."""
        pairs = self.findings(check, reference)
        counts: dict[str, int] = {}
        for case, finding in pairs:
            state = self.state(case, finding)
            counts[state] = counts.get(state, 0) + 1
        agree = counts.pop("agree", 0)
        if not pairs:
            return "no case is planned"
        rest = "".join(f"; {n}: {state}" for state, n in sorted(counts.items()))
        return f"{agree} of {len(pairs)} cases agree{rest}"

    def state(self, case: Case, finding: Finding | None) -> str:
        """One case in a word or two."""
        if finding is None:
            return "missing"
        if finding.outcome is Outcome.AGREE:
            return "agree" if finding.n_compared else "compared nothing"
        if finding.outcome is Outcome.NOT_APPLICABLE and finding.what:
            return "the reference cannot answer"
        if finding.outcome is not Outcome.DIFFER:
            return "could not be asked"
        if any(case.id in where for _, where in self.verdict.declared):
            return "as declared"
        if any(case == d.case for d in self.verdict.reference_faults):
            return "reference at fault"
        return "DIFFERS"

    def way(self, check: str, pattern: str) -> str:
        """``works`` or ``refuses`` where every such case agreed, else ``FAILS``; ``-`` where none is planned."""
        pairs = [(case, f) for case, f in self.findings(check) if fnmatchcase(case.probe, pattern)]
        if not pairs:
            return "-"
        if any(finding is None or self.state(case, finding) != "agree" for case, finding in pairs):
            return "FAILS"
        answers = [finding.facts for _, finding in pairs if finding is not None]
        return ", ".join(sorted({facts.use if isinstance(facts, Answer) else Use.WORKS for facts in answers}))

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """Each way in which the variant refuses to be used, with its message."""
        return sorted(
            {
                (column, answer.message)
                for column, check, pattern in WAYS
                for case, answer in self.stated(Answer, check)
                if fnmatchcase(case.probe, pattern) and answer.use is Use.REFUSES
            }
        )

    def section(self, checks: tuple[str, ...]) -> str:
        """The state of a section in one word, the worst of its cases."""
        states = {self.state(case, f) for check in checks for case, f in self.findings(check)}
        for state, word in (
            ("DIFFERS", "DIFFERS"),
            ("missing", "missing"),
            ("could not be asked", "missing"),
            ("compared nothing", "missing"),
            ("as declared", "declared"),
            ("reference at fault", "ok, reference at fault"),
            ("agree", "ok"),
        ):
            if state in states:
                return word
        return "missing"

    @property
    def reference_location(self) -> str:
        """``file:line`` of the reference's main object, as the lock check found it."""
        lock = self.lock(self.main)
        return lock.location if lock is not None else "unknown"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The findings worth acting on, worst first."""
        rows = [
            self._row(d.finding.severity, describe(d.finding), d.case.id)
            for d in sorted(self.verdict.buggy, key=lambda d: d.case.id)
        ]
        rows += [self._row(Severity.MUST_FIX, f"unproven: {why}", case) for case, why in self.verdict.unproven]
        for decided in self.verdict.reference_faults:
            text = f"the reference is at fault: {reference_fault(decided.finding)}"
            rows.append(self._row(Severity.NICE_TO_HAVE, text, decided.case.id))
        for case, links in self.stated(LinkFacts, "references", self.main):
            if links.author is Pinned.NO_COMMIT:
                text = "no commit of the authors' code is recorded, so that link is not pinned"
                rows.append(self._row(Severity.NICE_TO_HAVE, text, case.id))
        for case in self.planned:
            found = self.verdict.findings.get(case.id)
            if found is not None and found.nans:
                rows.append(self._row(Severity.NICE_TO_HAVE, "NaN on both sides at the same place", case.id))
        return tuple(sorted(rows, key=lambda row: row.severity is not Severity.MUST_FIX))

    def _row(self, severity: Severity, text: str, case: str) -> Row:
        reference = case.split("/")[1] if case.count("/") else ""
        lock = self.lock(reference)
        where = lock.location if lock is not None else self.reference_location
        return Row(severity, self.name, text, self.entry.location, where, case)

    def declared(self, scope: bool) -> list[tuple[Deviation, tuple[str, ...]]]:
        """Declared deviations, or the scope cuts among them."""
        return [(d, where) for d, where in self.verdict.declared if d.scope is scope]


def describe(finding: Finding) -> str:
    """A difference in words that are the same on every machine: figures stay in the raw evidence."""
    if finding.raised:
        return f"raised {finding.got}; {finding.want}"
    if finding.numeric:
        return f"{finding.what} differs beyond the limit (figures: reproduce the case)"
    return f"{finding.what}: got {finding.got}, want {finding.want}"


def reference_fault(finding: Finding) -> str:
    """What the reference does wrong, in words."""
    if finding.fault is Fault.REFERENCE:
        return (
            "at this point it gives NaN, or another answer after a nudge of a few roundings, so it states nothing "
            f"(seen in: {finding.what})"
        )
    told = describe(finding)
    return f"the closed form agrees with the subject, not with it ({told})"


def label_counts(views: tuple[View, ...]) -> str:
    """``4 CORRECT, 1 BUGGY``, the worst first."""
    counts = {label: sum(v.verdict.label is label for v in views) for label in Label}
    return ", ".join(f"{n} {label}" for label, n in counts.items() if n) or "nothing audited"
