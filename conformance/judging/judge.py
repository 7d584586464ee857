"""Plan + evidence + declared deviations -> verdicts. A pure function: no files, no clock, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from conformance.nouns.finding import SECOND, Case, Compared, Fault, Finding, Kind, Outcome
from conformance.nouns.verdict import Decided, Deviation, Label, Verdict

LOCK = "references"
"""The check that compares a reference with the lock."""
LIMITS = "promises"
"""The check that asks whether each declared limit shows."""
WITNESS = "closed:"
"""What the id of a closed form starts with."""
FORM = ("shape", "dtype", "numbers that are not finite")
"""Aspects of a tensor that are not its values."""
UNDECIDED = (
    "it differs from a reference that is wrong about the same quantity in other cases, and no closed form applies here"
)
NO_CASE = "no case of this check agreed"
NEEDED = (LOCK, "params", "init", "gradients", "low_precision", "forward", "influence", "trajectory")
"""A variant is CORRECT only if each of these checks, and every other that is asked of it, agreed at least once: absence
of difference is no proof."""


def judge(
    names: Sequence[str],
    plan: Iterable[Case],
    evidence: Mapping[str, Finding],
    deviations: Mapping[str, Sequence[Deviation]] | None = None,
    *,
    needed: Sequence[str] | Mapping[str, Sequence[str]] = NEEDED,
    broken: str = "",
) -> tuple[Verdict, ...]:
    """One verdict per audited name, in order.

    ``evidence`` maps case ids to findings, ``deviations`` names to what they declare. ``broken``: why the evidence as
    a whole cannot be trusted (a run without its end, for example); then nothing is better than UNPROVEN. ``needed``:
    the checks that must have agreed, of all or by name.
    """
    cases: dict[str, list[Case]] = {name: [] for name in names}
    for case in plan:
        cases.setdefault(case.variant, []).append(case)
    strays = sorted(set(evidence) - {case.id for own in cases.values() for case in own})
    if strays and not broken:
        broken = f"evidence for an unplanned case ({strays[0]}): it belongs to another plan"
    declared = deviations or {}
    return tuple(
        _judge_one(
            name,
            cases[name],
            evidence,
            list(declared.get(name, ())),
            needed.get(name, NEEDED) if isinstance(needed, Mapping) else needed,
            broken,
        )
        for name in names
    )


def worse(new: Label, old: Label) -> bool:
    """Whether a change of label from old to new is for the worse."""
    return new.rank < old.rank


def _judge_one(
    name: str,
    cases: list[Case],
    evidence: Mapping[str, Finding],
    deviations: list[Deviation],
    needed: Sequence[str],
    broken: str,
) -> Verdict:
    buggy: list[Decided] = []
    faults: list[Decided] = []
    minor: list[Decided] = []
    unproven: list[tuple[str, str]] = [("evidence", broken)] if broken else []
    seen: dict[Deviation, list[str]] = {d: [] for d in deviations}
    findings: dict[str, Finding] = {}
    drifted = _drifted(cases, evidence)
    witnesses = {case.reference for case in cases if case.reference.startswith(WITNESS)}
    if not cases:
        unproven.append((name, "NO_REFERENCE: nothing is planned for it"))
    for case in cases:
        finding = evidence.get(case.id)
        if finding is None:
            unproven.append((case.id, "planned, but no evidence arrived (crashed, hung, skipped or deselected)"))
            continue
        findings[case.id] = finding
        if finding.case != case.id:
            unproven.append((case.id, f"its evidence is that of another case ({finding.case})"))
            continue
        matching = [d for d in deviations if _covers(d, case, finding)]
        if finding.outcome is Outcome.ERROR:
            unproven.append((case.id, finding.in_words))
        elif finding.outcome is Outcome.NOT_APPLICABLE and finding.what:
            pass  # the reference declares that it cannot answer, and it did raise
        elif finding.outcome is Outcome.NOT_APPLICABLE:
            unproven.append((case.id, "not applicable, and no reason is declared"))
        elif finding.outcome is Outcome.AGREE and finding.n_compared < 1:
            unproven.append((case.id, "compared nothing"))
        elif finding.outcome is Outcome.DIFFER:
            if matching:
                for deviation in matching:
                    seen[deviation].append(case.id)
            elif _reference_is_at_fault(case, finding, evidence, witnesses):
                faults.append(Decided(case, finding))
            elif case.reference in drifted:
                unproven.append((case.id, "it differs from a reference that is not the locked one"))
            elif case.check == LIMITS:
                unproven.append((case.id, f"a declared limit was not observed: {finding.what}: got {finding.got}"))
            elif finding.kind.minor:
                minor.append(Decided(case, finding))
            else:
                buggy.append(Decided(case, finding))
    buggy, undecided = _without_a_witness(buggy, faults, cases, witnesses)
    unproven += [(d.case.id, UNDECIDED) for d in undecided]
    agreed = {c.check for c in cases if c.id in findings and _proves(findings[c.id])}
    if cases:
        asked = dict.fromkeys([*needed, *(case.check for case in cases)])
        # What differs in every case, and by default, makes PARTIAL at best: nothing is taken for proven.
        by_default = {where for d, cases_of_it in seen.items() if d.by_default and not d.scope for where in cases_of_it}
        agreed |= {c.check for c in cases if c.id in by_default}
        agreed |= {decided.case.check for decided in minor}
        unproven += [(check, NO_CASE) for check in asked if check not in agreed]
    for deviation, where in seen.items():
        if not any(fnmatchcase(case.within, deviation.cases) for case in cases):
            unproven.append((deviation.cases, "a declared deviation that matches no planned case"))
        elif not where:
            unproven.append((deviation.cases, "a declared deviation was not observed: withdraw it"))
    label, reason = _label(cases, findings, buggy, unproven, seen, faults, minor)
    shown = tuple((d, tuple(where)) for d, where in seen.items() if where)
    return Verdict(name, label, reason, tuple(buggy), tuple(unproven), shown, tuple(faults), findings, tuple(minor))


def _without_a_witness(
    buggy: list[Decided], faults: list[Decided], cases: list[Case], witnesses: set[str]
) -> tuple[list[Decided], list[Decided]]:
    """The differences that are the variant's, and those of which nothing can be said.

    A closed form cannot be asked where dropout draws, or where the reference divides 0 by 0. Where it found a reference
    wrong about exactly these quantities elsewhere in the same check (for a gradient penalty: about any gradient), a
    difference from that reference is no evidence against the variant there, and none for it: the case proves nothing.
    Where some closed form differs from the variant in that check, the difference is the variant's.
    """
    asked = {(case.check, case.probe) for case in cases if case.reference in witnesses}
    blamed = {d.case.check for d in buggy if d.case.reference in witnesses}
    wrong: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for d in faults:
        if d.finding.fault is not Fault.REFERENCE:
            wrong.setdefault((d.case.reference, d.case.check), set()).update(_quantities(d.finding))
    undecided = [
        d
        for d in buggy
        if (d.case.check, d.case.probe) not in asked
        and d.case.check not in blamed
        and _follows(d.finding, wrong.get((d.case.reference, d.case.check), set()))
    ]
    return [d for d in buggy if d not in undecided], undecided


def _follows(finding: Finding, wrong: set[tuple[str, str]]) -> bool:
    """Whether all that differs is wrong in the reference elsewhere, or made of a gradient that is."""
    gradients = any(name.startswith("gradient of") for name, _ in wrong)
    seconds = {(t.name, "") for t in finding.differing if gradients and t.aspect == SECOND}
    return _quantities(finding) - seconds <= wrong


def _quantities(finding: Finding) -> set[tuple[str, str]]:
    """What differs, by name, values apart from the form: under dropout a value is a mean over masks."""
    return {(thing.name, thing.aspect if thing.aspect in FORM else "") for thing in finding.differing}


def _drifted(cases: list[Case], evidence: Mapping[str, Finding]) -> set[str]:
    """The references that are not what the lock says."""
    checked = [case for case in cases if case.check == LOCK and case.id in evidence]
    return {case.reference for case in checked if evidence[case.id].outcome is Outcome.ERROR}


def _reference_is_at_fault(case: Case, finding: Finding, evidence: Mapping[str, Finding], witnesses: set[str]) -> bool:
    """The check saw it, or a closed form answers the same question as the subject and not as the reference.

    The witness must have been asked about everything that differs. It speaks of the method, so of each reference of it.
    """
    if finding.fault is Fault.REFERENCE:
        return True
    if case.reference in witnesses:
        return False
    told = (evidence.get(Case(case.variant, closed, case.check, case.probe).id) for closed in witnesses)
    return any(w is not None and _proves(w) and _about(finding.differing) <= _about(w.asked) for w in told)


def _about(compared: tuple[Compared, ...]) -> set[str]:
    """What was compared, without the aspect (the output's shape is about the output)."""
    return {thing.name for thing in compared}


def _covers(deviation: Deviation, case: Case, finding: Finding) -> bool:
    """Whether the deviation speaks of this case and of everything that differs in it."""
    spoken = all(any(fnmatchcase(str(thing), shown) for shown in deviation.shows) for thing in finding.differing)
    return fnmatchcase(case.within, deviation.cases) and spoken


def _proves(finding: Finding) -> bool:
    return finding.outcome is Outcome.AGREE and finding.n_compared > 0


def _label(
    cases: list[Case],
    findings: Mapping[str, Finding],
    buggy: list[Decided],
    unproven: list[tuple[str, str]],
    seen: Mapping[Deviation, list[str]],
    faults: list[Decided],
    minor: list[Decided],
) -> tuple[Label, str]:
    if buggy:
        checks = ", ".join(dict.fromkeys(d.case.check for d in buggy))
        return Label.BUGGY, f"{len(buggy)} of {len(cases)} planned cases differ, undeclared ({checks})."
    if unproven:
        return Label.UNPROVEN, f"{_count(len(unproven), 'thing')} missing; first: {unproven[0][0]}: {unproven[0][1]}."
    partial = {(d.what, d.why, d.link) for d, where in seen.items() if where and d.by_default and not d.scope}
    agree = sum(_proves(finding) for finding in findings.values())
    silent = sum(finding.outcome is Outcome.NOT_APPLICABLE for finding in findings.values())
    clauses = [f"{agree} of {len(cases)} planned cases agree"]
    for kind in Kind:
        if n := sum(d.finding.kind is kind for d in minor):
            clauses.append(f"in {n} it {'is ' if kind is Kind.STRICTER else ''}{kind}")
    if differ := len({case for where in seen.values() for case in where}):
        clauses.append(f"in {differ} it differs as declared")
    if faults:
        clauses.append(f"in {len(faults)} the reference is wrong or ill-conditioned")
    if silent:
        clauses.append(f"in {silent} the reference raises an error, as declared")
    counts = "; ".join(clauses) + "."
    if partial:
        return Label.PARTIAL, f"{_count(len(partial), 'declared deviation')} under the default settings. {counts}"
    return Label.PARTIAL if minor else Label.CORRECT, counts


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
