"""Findings as test failures of one's own project: ``@conforms_to("peft:dora")`` over a function that puts the code on a
layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from conformance.foreign.entry import Put, entry
from conformance.foreign.preflight import preflight
from conformance.judging.judge import judge
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case, Finding
from conformance.planning.plan import Planned, make_plan
from conformance.planning.select import plan_for
from conformance.reporting.rows import describe
from conformance.running.run import run_case
from refs.reference import Method


def conforms_to(method: str | Method, **more: Any) -> Callable[[Put], Callable[..., None]]:
    """Turn ``def test_x(layer, settings): return module`` into a test of every planned case against the method.

    ``more``: the arguments of ``conformance.entry`` (``names``, ``promises``, ``deviations``...). What is stricter than
    the reference, or differs in float64 only, is a warning and no failure. A mistake in the entry is one failure.
    """
    import pytest

    def over(put: Put) -> Callable[..., None]:
        made = entry(put.__name__.removeprefix("test_"), method, put, **more)
        plan = {planned.case.within: planned for planned in make_plan((made,))}

        @pytest.mark.parametrize("case", list(plan))
        def conforms(case: str) -> None:
            _usable(made)
            check_case(plan[case])

        conforms.__name__ = conforms.__qualname__ = put.__name__
        conforms.__doc__ = put.__doc__
        conforms.__module__ = put.__module__
        return conforms

    return over


_checked: dict[str, str] = {}


def _usable(made: Entry) -> None:
    """The entry itself is looked at once; each test then says the same of it."""
    if made.name not in _checked:
        try:
            preflight((made,))
            _checked[made.name] = ""
        except ValueError as error:
            _checked[made.name] = str(error)
    assert not _checked[made.name], _checked[made.name]


def check_case(planned: Planned) -> None:
    """AssertionError for a case in which the code is at fault, or nothing is proven."""
    finding = run_case(planned)
    evidence: dict[str, Finding] = {planned.case.id: finding}
    cases: list[Case] = [planned.case]
    if finding.differing:
        for other in plan_for((), (planned.entry,), planned.case.id)[1:]:
            cases.append(other.case)
            evidence[other.case.id] = run_case(other)
    name = planned.entry.name
    (verdict,) = judge([name], cases, evidence, {name: planned.entry.deviations}, needed=())
    for decided in verdict.buggy:
        assert decided.case != planned.case, _told(finding)
    for decided in verdict.minor:
        if decided.case == planned.case:
            warnings.warn(f"{finding.kind}: {_told(finding)}", stacklevel=2)
    for where, why in verdict.unproven:
        assert where != planned.case.id, f"unproven: {why}"


def _told(finding: Finding) -> str:
    lines = [f"{finding.kind}: {describe(finding)}"]
    if finding.limit:
        lines.append(f"got {finding.got}, want {finding.want}; error {finding.error:.3g}, limit {finding.limit:.3g}")
    if finding.others:
        lines.append(f"also differ: {', '.join(finding.others)}")
    return "\n".join(lines)
