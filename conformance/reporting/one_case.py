"""One case in figures, and what the judge says of it: the same words and the same code as on the card."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from conformance.judging.judge import judge
from conformance.nouns.finding import Fault, Finding, Outcome
from conformance.nouns.verdict import Verdict
from conformance.planning.plan import Planned
from conformance.reporting.rows import reference_fault
from conformance.running.evidence import Evidence

NOT_COMPARED = "NOT COMPARED"
NOT_A_NUMBER = 1e300
"""What an error of infinity is written as, and more."""


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
            return f"not counted, because of the reference ({case.reference}): {told}", True
    for deviation, cases in verdict.declared:
        if case.id in cases:
            return f"declared deviation: {deviation.what} ({deviation.why}; {deviation.link})", True
    for where, why in verdict.unproven:
        if where == case.id:
            return f"nothing is proven: {why}", False
    if finding.outcome is Outcome.NOT_APPLICABLE:
        return f"not counted: the reference declares that it cannot answer: {finding.what}", True
    return "they agree", True


def _figures(asked: Planned, finding: Finding) -> list[tuple[str, str]]:
    """What was measured, and who gave which value."""
    worst = finding.what + (f" at {finding.where}" if finding.where else "")
    at = f", {finding.reference_at}" if finding.reference_at else ""
    rows = [
        ("outcome", outcome(finding)),
        ("worst" if finding.outcome is Outcome.DIFFER else "closest", worst + _share(finding)),
        ("got", f"{finding.got}   (subject: {asked.entry.name}, {finding.subject_at or asked.entry.location})"),
        ("want", f"{finding.want}   (reference: {asked.reference.id}{at})"),
    ]
    if finding.outcome is Outcome.ERROR or finding.outcome is Outcome.NOT_APPLICABLE:
        rows[1:3] = [("asked", worst), ("got", f"{finding.got}   (reference or harness: {asked.reference.id})")]
    if finding.explained:
        rows.insert(2, ("reads as", finding.explained))
    if finding.limit:
        error = f"{finding.error:.3g}" if finding.error < NOT_A_NUMBER else "none: a side is not finite"
        rows.append(("error", f"{error}, limit {finding.limit:.3g}"))
    return rows


def outcome(finding: Finding) -> str:
    """The outcome, and over how many numbers; of shapes, dtypes and words, which they are."""
    if finding.fault is Fault.REFERENCE and finding.want == "nan":
        return f"{NOT_COMPARED}: the reference gives NaN"
    if finding.outcome is Outcome.DIFFER and not finding.numeric and finding.got and finding.want:
        aspect = next((t.aspect for t in finding.differing if str(t) == finding.what), "") or finding.what
        return f"{finding.outcome}: {aspect} {finding.got} instead of {finding.want}"
    return f"{finding.outcome}: {finding.n_compared} number{'' if finding.n_compared == 1 else 's'} compared"


def _share(finding: Finding) -> str:
    """How near an agreement is to its limit."""
    agrees = finding.outcome is Outcome.AGREE and finding.limit > 0
    return f" ({finding.error / finding.limit:.2g} of its limit)" if agrees else ""
