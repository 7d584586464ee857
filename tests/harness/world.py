"""A small plan with evidence that makes it CORRECT, for tests that then break one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from conformance.judging.judge import judge
from conformance.nouns.finding import Case, Compared, Finding, Outcome
from conformance.nouns.verdict import Deviation, Verdict

NEEDED = ("params", "forward")

PARAMS = Case("gate", "peft:gate", "params", "plain")
FORWARD = Case("gate", "peft:gate", "forward", "small")
WIDE = Case("gate", "peft:gate", "forward", "wide")
WITNESS = Case("gate", "closed:gate", "forward", "small")
PLAN = (PARAMS, FORWARD, WIDE, WITNESS)


def agree(case: Case, **more: Any) -> Finding:
    """A finding that proves something."""
    return replace(Finding(case.id, Outcome.AGREE, 20, asked=(Compared("output"),)), **more)


def differ(case: Case, **more: Any) -> Finding:
    """A finding of a difference."""
    return replace(Finding(case.id, Outcome.DIFFER, 20, "output", got="1", want="2"), **more)


def sound(*changed: Finding) -> dict[str, Finding]:
    """Evidence in which all agree but what is changed."""
    return {**{case.id: agree(case) for case in PLAN}, **{finding.case: finding for finding in changed}}


def deviation(cases: str, **more: Any) -> Deviation:
    """A declared deviation that does not show under the default settings."""
    return replace(Deviation(cases, "it differs", "because", "https://example.org", by_default=False), **more)


def verdict(
    evidence: Mapping[str, Finding],
    deviations: Iterable[Deviation] = (),
    *,
    plan: Iterable[Case] = PLAN,
    broken: str = "",
) -> Verdict:
    """The verdict on the one variant of this world."""
    (one,) = judge(["gate"], plan, evidence, {"gate": tuple(deviations)}, needed=NEEDED, broken=broken)
    return one
