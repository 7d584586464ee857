"""Findings for a reader: one row per thing that was seen, however many cases show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from conformance.judging.judge import NO_CASE
from conformance.nouns.facts import LinkFacts, Pinned
from conformance.nouns.finding import Case, Fault, Finding, Kind, Severity
from conformance.nouns.verdict import Verdict


class Note(StrEnum):
    """What a NOTE is about. The last two make the label PARTIAL, the others change nothing."""

    FAULT = "fault in the reference"
    ILL_CONDITIONED = "not compared (ill-conditioned)"
    NANS = "not compared (NaN on both sides)"
    LINK = "link not pinned"
    STRICTER = Kind.STRICTER.value
    FLOAT64 = Kind.FLOAT64.value


@dataclass(frozen=True)
class Row:
    """A finding for a list: what, where on both sides, the cases that show it, and what differs in them."""

    severity: Severity
    variant: str
    text: str
    subject_location: str
    reference_location: str
    cases: tuple[str, ...]
    place: str = ""
    """Where the entries are, if they are not this repository's own."""
    check: str = ""
    """The check that lacks a case, where that is what was seen."""
    note: Note | None = None
    """What a NOTE is about; None for MUST-FIX."""

    @property
    def label(self) -> str:
        """``MUST-FIX``, or ``NOTE`` with what it is about."""
        return f"{self.severity}: {self.note}" if self.note else str(self.severity)

    @property
    def case(self) -> str:
        """The case that reproduces it."""
        return self.cases[0]

    @property
    def told(self) -> str:
        """The text, with the number of cases if there are several."""
        return counted(len(self.cases), self.text)

    @property
    def command(self) -> str:
        """What shows it again: its case, the cases of its check, or the whole variant."""
        place = f" --entries {self.place}" if self.place else ""
        if self.check:
            return f"conformance list {self.variant}{place} --check {self.check}"
        case = f" --case '{self.case}'" if self.case.count("/") >= 3 else ""
        return f"conformance audit {self.variant}{place}{case}"


def counted(n: int, text: str) -> str:
    """A finding's text with its number of cases in front, if there are several."""
    return text if n == 1 else f"({n} cases) {text}"


NO_FIGURES = " (the command below prints the figures)"
"""On a card, which must be the same on every machine."""
LACKING = "unproven: no case agreed in the check "
Seen = tuple[Note | None, str, tuple[str, ...], str, tuple[str, ...]]
"""What a NOTE is about (None: MUST-FIX), text, all that differs (where the text does not say), case, and what else
differs in it."""


def rows(
    verdict: Verdict, planned: Iterable[Case], subject_location: str, location_of: Callable[[str], str]
) -> tuple[Row, ...]:
    """The findings worth acting on, worst first, at the lines of their first case where these are known.

    ``subject_location``: of the class; ``location_of`` gives ``file:line`` of the reference of a case.
    """
    groups: dict[tuple[Note | None, str, str], list[tuple[tuple[str, ...], str, tuple[str, ...]]]] = {}
    for note, text, what, case, others in _seen(verdict, tuple(planned)):
        groups.setdefault((note, text, location_of(case)), []).append((what, case, others))
    made = []
    for (note, text, location), members in groups.items():
        whats = sorted({name for names, _, _ in members for name in names})
        told = f"{text} Affected: {', '.join(whats)}." if whats else text
        severity = Severity.MUST_FIX if note is None else Severity.NOTE
        also = tuple(dict.fromkeys(name for _, _, others in members for name in others))
        told += f"; also differ: {', '.join(also)}" if also else ""
        cases = tuple(case for _, case, _ in members)
        first = verdict.findings.get(cases[0])
        mine, other = (first.subject_at, first.reference_at) if first is not None else ("", "")
        check = cases[0] if text.startswith(LACKING) else ""
        at, beside = mine or subject_location, other or location
        made.append(Row(severity, verdict.variant, told, at, beside, cases, check=check, note=note))
    return tuple(sorted(made, key=lambda row: row.severity is not Severity.MUST_FIX))


def _seen(verdict: Verdict, planned: tuple[Case, ...]) -> Iterable[Seen]:
    for decided in sorted(verdict.buggy, key=lambda d: d.case.id):
        found = decided.finding
        yield None, describe(found), (), decided.case.id, found.others
    for decided in sorted(verdict.minor, key=lambda d: d.case.id):
        found = decided.finding
        yield Note(found.kind), describe(found), (), decided.case.id, found.others
    differs = {decided.case.check for decided in verdict.buggy}
    # Where a check differs, it is said already that none of its cases agreed.
    lacking = [check for check, why in verdict.unproven if why == NO_CASE and check not in differs]
    for missing, why in verdict.unproven:
        if why == NO_CASE:
            continue
        yield None, f"unproven: {why}", (), missing, ()
    if lacking:
        yield None, f"{LACKING}{', '.join(lacking)}", (), lacking[0], ()
    for decided in verdict.reference_faults:
        text, what = reference_fault(decided.finding)
        yield Note.ILL_CONDITIONED if ill_conditioned(decided.finding) else Note.FAULT, text, what, decided.case.id, ()
    for case in planned:
        finding = verdict.findings.get(case.id)
        if finding is None:
            continue
        if isinstance(finding.facts, LinkFacts) and finding.facts.author is Pinned.NO_COMMIT:
            text = "The link to the authors' code names no commit: none is recorded."
            yield Note.LINK, text, (), case.id, ()
        if isinstance(finding.facts, LinkFacts):
            for line in finding.facts.gone:
                yield Note.LINK, f"A link does not lead where it did: {line}.", (), case.id, ()
        if finding.nans:
            text = "Both sides return NaN at the same places. These values were not compared, the others were."
            yield Note.NANS, text, (), case.id, ()


def describe(finding: Finding) -> str:
    """A difference in words that are the same on every machine: figures stay in the raw evidence."""
    if finding.raised:
        return f"raised {finding.got}; {finding.want}"
    if finding.numeric:
        if finding.explained:
            return f"{finding.what} is off: {finding.explained}"
        return f"{finding.what} differs beyond the limit{NO_FIGURES}"
    return finding.in_words


def ill_conditioned(finding: Finding) -> bool:
    """Whether a difference says nothing since the reference is ill-conditioned, and no fault of it was seen."""
    return finding.fault is Fault.REFERENCE and not finding.at_fault


def reference_fault(finding: Finding) -> tuple[str, tuple[str, ...]]:
    """What is wrong with the reference, and all that differs for that reason if the text does not say.

    All of it, and not the worst: where the reference is ill-conditioned, another machine finds another one the worst.
    """
    name = finding.case.split("/")[1]
    if finding.at_fault:
        return finding.at_fault, ()
    if ill_conditioned(finding):
        text = (
            f"`{name}` is ill-conditioned there: it returns NaN, or its result changes strongly when its tensors "
            "change by a few ulps."
        )
        return text, tuple(dict.fromkeys(thing.name for thing in finding.differing))
    thing, _, aspect = finding.what.partition(": ")
    wrong = f"In `{name}`, {f'the {aspect} of {thing}' if aspect else thing} is wrong: "
    if finding.numeric:
        wrong += f"off by more than the limit{NO_FIGURES}."
    else:
        wrong += f"{finding.want} instead of {finding.got}."
    return f"{wrong} The closed form agrees with the variant.", ()


@dataclass(frozen=True)
class Shared:
    """One finding that several variants share."""

    row: Row
    variants: tuple[str, ...]
    n: int

    @property
    def told(self) -> str:
        """The text, with the number of cases if there are several."""
        return counted(self.n, self.row.text)


def shared(all_rows: Iterable[Row]) -> list[Shared]:
    """Rows of equal label and text as one, in the order in which they first came."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in all_rows:
        groups.setdefault((row.label, row.text), []).append(row)
    return [
        Shared(members[0], tuple(dict.fromkeys(r.variant for r in members)), sum(len(r.cases) for r in members))
        for members in groups.values()
    ]
