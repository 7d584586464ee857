"""Findings for a reader: one row per thing that was seen, however many cases show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from conformance.judging.judge import NO_CASE
from conformance.nouns.facts import LinkFacts, Pinned
from conformance.nouns.finding import Case, Fault, Finding, Severity
from conformance.nouns.verdict import Verdict


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


LACKING = "unproven: no case agreed in the check "
Seen = tuple[Severity, str, tuple[str, ...], str, tuple[str, ...]]
"""Severity, text, all that differs (where the text does not say), case, and what else differs in it."""


def rows(
    verdict: Verdict, planned: Iterable[Case], subject_location: str, location_of: Callable[[str], str]
) -> tuple[Row, ...]:
    """The findings worth acting on, worst first, at the lines of their first case where these are known.

    ``subject_location``: of the class; ``location_of`` gives ``file:line`` of the reference of a case.
    """
    groups: dict[tuple[Severity, str, str], list[tuple[tuple[str, ...], str, tuple[str, ...]]]] = {}
    for severity, text, what, case, others in _seen(verdict, tuple(planned)):
        groups.setdefault((severity, text, location_of(case)), []).append((what, case, others))
    made = []
    for (severity, text, location), members in groups.items():
        whats = sorted({name for names, _, _ in members for name in names})
        told = f"{text}; it shows in: {', '.join(whats)}" if whats else text
        also = tuple(dict.fromkeys(name for _, _, others in members for name in others))
        told += f"; also differ: {', '.join(also)}" if also else ""
        cases = tuple(case for _, case, _ in members)
        first = verdict.findings.get(cases[0])
        mine, other = (first.subject_at, first.reference_at) if first is not None else ("", "")
        check = cases[0] if text.startswith(LACKING) else ""
        at, beside = mine or subject_location, other or location
        made.append(Row(severity, verdict.variant, told, at, beside, cases, check=check))
    return tuple(sorted(made, key=lambda row: row.severity is not Severity.MUST_FIX))


def _seen(verdict: Verdict, planned: tuple[Case, ...]) -> Iterable[Seen]:
    for decided in sorted(verdict.buggy, key=lambda d: d.case.id):
        found = decided.finding
        yield found.severity, describe(found), (), decided.case.id, found.others
    for decided in sorted(verdict.minor, key=lambda d: d.case.id):
        found = decided.finding
        yield Severity.NICE_TO_HAVE, f"{found.kind}: {describe(found)}", (), decided.case.id, found.others
    differs = {decided.case.check for decided in verdict.buggy}
    # Where a check differs, it is said already that none of its cases agreed.
    lacking = [check for check, why in verdict.unproven if why == NO_CASE and check not in differs]
    for missing, why in verdict.unproven:
        if why == NO_CASE:
            continue
        yield Severity.MUST_FIX, f"unproven: {why}", (), missing, ()
    if lacking:
        yield Severity.MUST_FIX, f"{LACKING}{', '.join(lacking)}", (), lacking[0], ()
    for decided in verdict.reference_faults:
        text, what = reference_fault(decided.finding)
        yield Severity.NICE_TO_HAVE, text, what, decided.case.id, ()
    for case in planned:
        finding = verdict.findings.get(case.id)
        if finding is None:
            continue
        if isinstance(finding.facts, LinkFacts) and finding.facts.author is Pinned.NO_COMMIT:
            text = "no commit of the authors' code is recorded, so that link is not pinned"
            yield Severity.NICE_TO_HAVE, text, (), case.id, ()
        if isinstance(finding.facts, LinkFacts):
            for line in finding.facts.gone:
                yield Severity.NICE_TO_HAVE, f"a link does not lead where it did: {line}", (), case.id, ()
        if finding.nans:
            text = "NaN on both sides at the same place: those numbers were not compared"
            yield Severity.NICE_TO_HAVE, text, (), case.id, ()


def describe(finding: Finding) -> str:
    """A difference in words that are the same on every machine: figures stay in the raw evidence."""
    if finding.raised:
        return f"raised {finding.got}; {finding.want}"
    if finding.numeric:
        if finding.explained:
            return f"{finding.what} is off: {finding.explained}"
        return f"{finding.what} differs beyond the limit (figures: run the command)"
    return finding.in_words


def reference_fault(finding: Finding) -> tuple[str, tuple[str, ...]]:
    """What is wrong with the reference, and all that differs for that reason if the text does not say.

    All of it, and not the worst: where the reference is ill-conditioned, another machine finds another one the worst.
    """
    if finding.at_fault:
        return f"the reference is at fault: {finding.at_fault}", ()
    if finding.fault is Fault.REFERENCE:
        text = "ill-conditioned here, not compared: the reference gives NaN, or its result jumps when its tensors move "
        return text + "by a few roundings", tuple(dict.fromkeys(thing.name for thing in finding.differing))
    text = "the reference is at fault, the closed form agrees with the variant: "
    if finding.numeric:
        return text + f"{finding.what} of the reference is off by more than the limit (figures: run the command)", ()
    return text + f"{finding.what}: the variant gives {finding.got}, the reference {finding.want}", ()


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
    """Rows of equal severity and text as one, in the order in which they first came."""
    groups: dict[tuple[Severity, str], list[Row]] = {}
    for row in all_rows:
        groups.setdefault((row.severity, row.text), []).append(row)
    return [
        Shared(members[0], tuple(dict.fromkeys(r.variant for r in members)), sum(len(r.cases) for r in members))
        for members in groups.values()
    ]
