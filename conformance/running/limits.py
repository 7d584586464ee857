"""How long things may take, and the findings that stand for what was therefore not asked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.nouns.finding import Finding, Outcome

CASE_SECONDS = 60.0
"""A case that takes longer hangs. The first one may also import peft."""
START_SECONDS = 300.0
"""How long a process may take to import torch and plan, on however busy a machine."""
RUN_MINUTES = 60.0
"""A whole run of this repository's variants takes a few minutes on two cores."""
GIVE_UP_AFTER = 3
"""Cases of one variant that may hang or crash their process; then the rest of it is not asked any more."""


@dataclass(frozen=True)
class Deadline:
    """When a run must be over, from the moment this is made. ``minutes``: None for no limit."""

    minutes: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left; infinity without a limit."""
        return math.inf if self.minutes is None else self.started + 60 * self.minutes - time.monotonic()

    @property
    def said(self) -> str:
        """That it is over, in words."""
        return "the run reached its limit" + ("" if self.minutes is None else f" of {self.minutes:g} minutes")


def hung(case: str, seconds: float) -> Finding:
    """The finding of a case that gave no answer in time."""
    return _unanswered(case, "no answer", f"nothing within {seconds:g} s")


def given_up(case: str, why: str = "") -> Finding:
    """The finding of a case that was not run, since others of its variant hung or crashed."""
    variant = case.split("/")[0]
    return _unanswered(case, "not run", why or f"{variant} given up after {GIVE_UP_AFTER} cases that hung or crashed")


def too_late(cases: Iterable[str], deadline: Deadline) -> dict[str, Finding]:
    """The findings of the cases that a run did not come to."""
    return {case: _unanswered(case, "not run", f"{deadline.said} before this case") for case in cases}


def _unanswered(case: str, what: str, got: str) -> Finding:
    return Finding(case, Outcome.ERROR, what=what, got=got, want="an answer")
