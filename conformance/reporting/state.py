"""What became of a case, in words for the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from conformance.judging.judge import UNDECIDED
from conformance.nouns.finding import Case, Fault, Finding, Kind, Outcome
from conformance.nouns.verdict import Verdict


class State(StrEnum):
    """One case of the plan after the run. The value completes the sentence "in n cases ..."."""

    AGREE = "both sides agree"
    DIFFERS = "the variant DIFFERS, undeclared"
    FLOAT64 = "the variant differs in float64 only"
    STRICTER = "the variant is stricter than the reference"
    MISSING = "no result arrived"
    ERROR = "the measurement failed"
    UNDECIDED = "the reference is wrong about this elsewhere and no closed form can be asked, so nothing is proven"
    EMPTY = "nothing was compared"
    DECLARED = "the variant differs as declared"
    WITNESSED = "the reference is wrong (the closed form agrees with the variant)"
    FAULTY = "the reference is at fault (see the findings)"
    ILL_CONDITIONED = "the reference is ill-conditioned, so nothing is compared"
    CANNOT = "the reference raises an error, as declared, so nothing is compared"


SECTION_WORDS: tuple[tuple[State, str], ...] = (
    (State.DIFFERS, "DIFFERS"),
    (State.MISSING, "missing"),
    (State.ERROR, "missing"),
    (State.UNDECIDED, "missing"),
    (State.EMPTY, "missing"),
    (State.FLOAT64, "float64 only"),
    (State.STRICTER, "stricter"),
    (State.DECLARED, "declared"),
    (State.WITNESSED, "ok, reference at fault"),
    (State.FAULTY, "ok, reference at fault"),
    (State.ILL_CONDITIONED, "ok, reference at fault"),
    (State.AGREE, "ok"),
)
"""The word for a section, by the worst state among its cases; the worst first."""


def state_of(case: Case, finding: Finding | None, verdict: Verdict) -> State:
    """What became of a case under this verdict."""
    if finding is None:
        return State.MISSING
    if finding.outcome is Outcome.AGREE:
        return State.AGREE if finding.n_compared else State.EMPTY
    if finding.outcome is Outcome.NOT_APPLICABLE and finding.what:
        return State.CANNOT
    if finding.outcome is not Outcome.DIFFER:
        return State.ERROR
    if any(case.id in where for _, where in verdict.declared):
        return State.DECLARED
    if any(case == decided.case for decided in verdict.reference_faults):
        if finding.at_fault:
            return State.FAULTY
        return State.ILL_CONDITIONED if finding.fault is Fault.REFERENCE else State.WITNESSED
    if (case.id, UNDECIDED) in verdict.unproven:
        return State.UNDECIDED
    if any(case == decided.case for decided in verdict.minor):
        return State.FLOAT64 if finding.kind is Kind.FLOAT64 else State.STRICTER
    return State.DIFFERS


def tally(states: Iterable[State]) -> str:
    """``all 27 cases agree``, or how many agree and what happened to each of the others."""
    counts = Counter(states)
    n = sum(counts.values())
    agree = counts.pop(State.AGREE, 0)
    if not n:
        return "no case is planned"
    if not counts:
        return {1: "the one case agrees", 2: "both cases agree"}.get(n, f"all {n} cases agree")
    return f"{agree} of {n} cases agree; " + others(counts)


def others(counts: Counter[State]) -> str:
    """What happened to the cases that do not agree."""
    return "; ".join(f"in {counts[state]} {state}" for state in State if state is not State.AGREE and counts[state])


def section_word(states: Iterable[State]) -> str:
    """The state of a section in one word, the worst of its cases."""
    present = set(states)
    return next((word for state, word in SECTION_WORDS if state in present), "missing" if present else "not tested")
