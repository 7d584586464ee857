"""One case in figures, and what the judge says of it: the same words and the same code as on the card."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from conformance.judging.judge import judge
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.verdict import Verdict
from conformance.planning.plan import Planned
from conformance.reporting.rows import reference_fault
from conformance.running.evidence import Evidence


def show(plan: Sequence[Planned], found: Evidence) -> int:
    """Print the first case of ``plan``; the others are its witnesses. 0 if the audited side is not at fault."""
    asked = plan[0]
    finding = found.findings.get(asked.case.id)
    if finding is None:
        print(f"{asked.case.id}: no answer: {found.broken or 'no evidence arrived'}", file=sys.stderr)
        return 1
    wanted = {planned.case.id for planned in plan}
    evidence = {case: each for case, each in found.findings.items() if case in wanted}
    name = asked.entry.name
    (verdict,) = judge(
        [name], [p.case for p in plan], evidence, {name: asked.entry.deviations}, needed=(), broken=found.broken
    )
    said, fine = ruling(asked, finding, verdict)
    print(f"{finding.case}\n{asked.check.question}\n")
    for label, text in (*_figures(asked, finding), ("judge", said)):
        print(f"  {label:10} {text}")
    for witness in (p for p in plan[1:] if (p.case.check, p.case.probe) == (asked.case.check, asked.case.probe)):
        outcome = evidence[witness.case.id].outcome if witness.case.id in evidence else "no answer"
        print(f"  {'same case':10} against {witness.case.reference}: {outcome}")
    if found.broken:
        print(f"{finding.case}: not to be trusted: {found.broken}", file=sys.stderr)
    return 0 if fine and not found.broken else 1


def ruling(asked: Planned, finding: Finding, verdict: Verdict) -> tuple[str, bool]:
    """What the verdict says of one case, and whether the audited side stands."""
    case = asked.case
    for decided in verdict.buggy:
        if decided.case == case:
            return f"the subject ({case.variant}) is at fault: the difference is not declared", False
    for decided in verdict.reference_faults:
        if decided.case == case:
            text, differing = reference_fault(finding)
            told = f"{text} ({', '.join(differing)})" if differing else text
            return f"the reference ({case.reference}) is not to be trusted here: {told}", True
    for deviation, cases in verdict.declared:
        if case.id in cases:
            return f"nobody is at fault: declared: {deviation.what} ({deviation.why}; {deviation.link})", True
    for where, why in verdict.unproven:
        if where == case.id:
            return f"nothing is proven: {why}", False
    if finding.outcome is Outcome.NOT_APPLICABLE:
        return f"nobody is at fault: the reference declares that it cannot answer: {finding.what}", True
    return "nobody is at fault: they agree", True


def _figures(asked: Planned, finding: Finding) -> list[tuple[str, str]]:
    """What was measured, and who gave which value."""
    worst = finding.what + (f" at {finding.where}" if finding.where else "")
    at = f", {finding.reference_at}" if finding.reference_at else ""
    rows = [
        ("outcome", f"{finding.outcome}: {finding.n_compared} numbers compared"),
        ("worst" if finding.outcome is Outcome.DIFFER else "tightest", worst),
        ("got", f"{finding.got}   (subject: {asked.entry.name}, {finding.subject_at or asked.entry.location})"),
        ("want", f"{finding.want}   ({_who_wants(asked, finding)}{at})"),
    ]
    if finding.outcome is Outcome.ERROR or finding.outcome is Outcome.NOT_APPLICABLE:
        rows[1:3] = [("asked", worst), ("got", f"{finding.got}   (reference or harness: {asked.reference.id})")]
    if finding.explained:
        rows.insert(2, ("reads as", finding.explained))
    if finding.limit:
        rows.append(("error", f"{finding.error:.3g}, limit {finding.limit:.3g}"))
    return rows


def _who_wants(asked: Planned, finding: Finding) -> str:
    """A measured figure is the reference's; words may also be what the check asks of any subject."""
    return (
        f"reference: {asked.reference.id}"
        if finding.numeric
        else f"reference {asked.reference.id}, or what the check asks of any subject"
    )
