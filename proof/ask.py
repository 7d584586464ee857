"""Put an entry before the harness as a user would, and see which checks call it wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from conformance.checks.registry import CHECKS
from conformance.judging.judge import judge
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case, Finding, Outcome
from conformance.nouns.verdict import Deviation, Verdict
from conformance.planning.plan import Planned, make_plan
from conformance.running.run import run_case
from refs.reference import ClosedForm

WITHOUT_SUBJECT = "references"
"""The one check that does not look at the subject, so no wrong variant can fail it."""
SLOW = ("execution_modes", "quantised", "exchange")
"""These take longer than all others together; they are asked of what they claim, and where it is said."""
LIMITS = "promises"
"""Asks for the limits that an entry declares: one that does not show makes UNPROVEN, and kills nothing."""
OF_OTHERS = "recorded"
"""Asked of somebody else's entries alone, beside numbers that they recorded."""
ALL_CHECKS = tuple(check.name for check in CHECKS if check.name not in (WITHOUT_SUBJECT, LIMITS, OF_OTHERS))
QUICK_CHECKS = tuple(name for name in ALL_CHECKS if name not in SLOW)


@dataclass
class Asked:
    """What was measured of one entry so far, and what the judge makes of it."""

    entry: Entry
    findings: dict[Case, Finding] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The verdict from what was measured alone; a declared deviation counts where its check was asked."""
        return self.judged()

    def judged(self, declared: Sequence[Deviation] = (), leaving_out: Collection[str] = ()) -> Verdict:
        """The verdict with more declarations, or without the cases of some references or checks."""
        findings = {
            case: finding
            for case, finding in self.findings.items()
            if case.check not in leaving_out and case.reference not in leaving_out
        }
        checks = {case.check for case in findings}
        known = [d for d in self.entry.deviations if any(f"/{check}/" in d.cases for check in checks)]
        evidence = {case.id: finding for case, finding in findings.items()}
        known_or_added = {self.entry.name: [*known, *declared]}
        return judge([self.entry.name], list(findings), evidence, known_or_added, needed=())[0]

    def ask(self, planned: Planned) -> Finding:
        """Run one case and keep its finding."""
        self.findings[planned.case] = finding = run_case(planned)
        return finding

    def kills(self, planned: Planned) -> bool:
        """Run one case; whether the judge holds what it found against the subject."""
        if self.ask(planned).outcome is not Outcome.DIFFER:
            return False
        return any(decided.case == planned.case for decided in self.verdict.buggy)


def cases_of(entry: Entry, checks: Iterable[str] = QUICK_CHECKS) -> list[Planned]:
    """Its cases of these checks, those against a closed form first: they witness for or against the others."""
    wanted = set(checks)
    plan = make_plan([entry], tuple(check for check in CHECKS if check.name in wanted))
    return sorted(plan, key=lambda planned: not isinstance(planned.reference, ClosedForm))


def sample_of(entry: Entry, every: int, offset: int = 0, checks: Iterable[str] = QUICK_CHECKS) -> list[Planned]:
    """Of each check every ``every``-th probe, at least one, from the ``offset``-th on; each before all its references.

    A sample by case could leave out the closed form that witnesses against a reference, and convict the subject.
    ``every`` samples of the offsets 0, 1, ... are all cases.
    """
    probes: dict[str, list[str]] = {}
    for planned in (plan := cases_of(entry, checks)):
        of_check = probes.setdefault(planned.case.check, [])
        if planned.case.probe not in of_check:
            of_check.append(planned.case.probe)
    chosen = {
        (check, probe)
        for check, of_check in probes.items()
        for probe in (of_check[offset % every :: every] or [of_check[offset % len(of_check)]])
    }
    return [planned for planned in plan if (planned.case.check, planned.case.probe) in chosen]


def killers(entry: Entry, checks: Iterable[str] = QUICK_CHECKS, *, first: bool = False) -> dict[str, Finding]:
    """Check -> the finding with which it first called the entry BUGGY; a check that is blind to it is left out.

    Each check stops at its first kill; ``first`` stops altogether there.
    """
    asked = Asked(entry)
    found: dict[str, Finding] = {}
    for planned in cases_of(entry, checks):
        if planned.check.name not in found and asked.kills(planned):
            found[planned.check.name] = asked.findings[planned.case]
            if first:
                break
    return found


def verdict_on(entry: Entry, checks: Iterable[str] = QUICK_CHECKS) -> Verdict:
    """The verdict after every case of these checks."""
    asked = Asked(entry)
    for planned in cases_of(entry, checks):
        asked.ask(planned)
    return asked.verdict
