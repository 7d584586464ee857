"""Which comparisons came near their limit: another CPU may round across it. Printed by the run, not on cards."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.nouns.finding import Finding, Outcome

NEAR = 0.7
"""Share of the limit from which an agreement is named, and of the error below which a difference is."""


def near_limits(findings: Iterable[Finding]) -> tuple[str, ...]:
    """One line per finding whose error and limit are near each other, the nearest first.

    A limit that exact arithmetic reaches (half a spacing) is none of them: see ``Comparison.exact_bound``.
    """
    near = []
    for finding in findings:
        if finding.exact_bound or not (finding.limit > 0 and finding.numeric):
            continue
        share = finding.error / finding.limit
        close = share > NEAR if finding.outcome is Outcome.AGREE else share < 1 / NEAR
        if close and finding.outcome in (Outcome.AGREE, Outcome.DIFFER):
            near.append((abs(share - 1), finding.case, f"{finding.case}: {finding.what} at {share:.2f} of its limit"))
    return tuple(line for _, _, line in sorted(near))
