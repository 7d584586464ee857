"""What a card shows, computed from a verdict: plain data for the templates, nothing measured anew."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case, Fault, Finding, Outcome, Severity
from conformance.nouns.verdict import Deviation, Label, Verdict

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("references", ("references",)),
    ("params", ("params", "influence", "refusals")),
    ("init", ("init", "data_init", "reconstruction", "ranks", "shared_inputs", "gradients")),
    ("dtype", ("low_precision",)),
    ("forward", ("forward", "steering", "contraction", "orthogonality", "chirality", "penalty", "pairing")),
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

    def fact(self, check: str, key: str, reference: str = "") -> Any:
        """A fact from the first finding of a check that states it, the main reference's unless another is named."""
        pairs = self.findings(check, reference or self.main)
        return next((f.facts[key] for _, f in pairs if f is not None and key in f.facts), None)

    def all_facts(self, check: str, key: str) -> list[tuple[Case, Finding]]:
        """Every finding of a check, against the main reference, that states a fact."""
        return [(c, f) for c, f in self.findings(check, self.main) if f is not None and key in f.facts]

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
        answers = {str(finding.facts.get("answer", "works")) for _, finding in pairs if finding is not None}
        return ", ".join(sorted({answer.partition(":")[0] for answer in answers}))

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """Each way in which the variant refuses to be used, with its message."""
        return sorted(
            {
                (column, str(finding.facts["answer"]).partition(": ")[2])
                for column, check, pattern in WAYS
                for case, finding in self.findings(check)
                if fnmatchcase(case.probe, pattern)
                and finding is not None
                and str(finding.facts.get("answer", "")).startswith("refuses: ")
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
        return str(self.fact("references", "location") or "unknown")

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
        for case, finding in self.findings("references", self.main):
            if finding is not None and finding.facts.get("author") == "not pinned to a commit":
                text = "no commit of the authors' code is recorded, so that link is not pinned"
                rows.append(self._row(Severity.NICE_TO_HAVE, text, case.id))
        for case in self.planned:
            found = self.verdict.findings.get(case.id)
            if found is not None and "nan_on_both_sides" in found.facts:
                rows.append(self._row(Severity.NICE_TO_HAVE, "NaN on both sides at the same place", case.id))
        return tuple(sorted(rows, key=lambda row: row.severity is not Severity.MUST_FIX))

    def _row(self, severity: Severity, text: str, case: str) -> Row:
        reference = case.split("/")[1] if case.count("/") else ""
        where = self.fact("references", "location", reference) or self.reference_location
        return Row(severity, self.name, text, self.entry.location, str(where), case)

    def declared(self, scope: bool) -> list[tuple[Deviation, tuple[str, ...]]]:
        """Declared deviations, or the scope cuts among them."""
        return [(d, where) for d, where in self.verdict.declared if d.scope is scope]


def describe(finding: Finding) -> str:
    """A difference in words that are the same on every machine: figures stay in the raw evidence."""
    if finding.numeric:
        return f"{finding.what} differs beyond the limit (figures: reproduce the case)"
    return f"{finding.what}: got {finding.got}, want {finding.want}"


def reference_fault(finding: Finding) -> str:
    """What the reference does wrong, in words."""
    if "at_fault" in finding.facts:
        return str(finding.facts["at_fault"])
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
