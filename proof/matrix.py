"""The kill matrix: which check kills which wrong variant, and which is blind to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.nouns.entry import Entry
from conformance.planning.plan import Planned
from proof.ask import QUICK_CHECKS, Asked, cases_of
from proof.pool import each
from proof.seeded.registry import SEEDED_FAULTS, entry_of

OTHERS = 6
"""How many cases a check that does not claim a wrong variant is asked, per reference."""


@dataclass(frozen=True)
class Killed:
    """One wrong variant: what each check that was asked said about it."""

    name: str
    bug: str
    like: str
    fault: str
    claimed: str
    severity: str
    kills: dict[str, str]
    """Check -> the case with which it killed first."""
    asked: tuple[str, ...]
    before: bool = False
    """Written before the check that kills it."""

    @property
    def proven(self) -> bool:
        """Killed by the check that claims it."""
        return self.claimed in self.kills

    def cell(self, check: str) -> str:
        """``K``: killed, as claimed; ``k``: killed too; ``-``: blind; empty: has nothing to ask."""
        if check in self.kills:
            return "K" if check == self.claimed else "k"
        return "-" if check in self.asked else ""


def run(workers: int, names: Iterable[str] | None = None) -> list[Killed]:
    """Every seeded fault, or those named, before every check."""
    wanted = None if names is None else set(names)
    return each(_one, [e.name for e in SEEDED_FAULTS if wanted is None or e.name in wanted], workers)


def _asked(entry: Entry, claimed: str) -> list[Planned]:
    """Every case of the check that claims it, and the first ``OTHERS`` of each of the other quick ones."""
    checks = {*QUICK_CHECKS, claimed}
    count: Counter[tuple[str, str]] = Counter()
    chosen = []
    for planned in cases_of(entry, checks):
        at = (planned.check.name, planned.reference.id)
        count[at] += 1
        if planned.check.name == claimed or count[at] <= OTHERS:
            chosen.append(planned)
    return chosen


def _one(name: str) -> Killed:
    seeded = next(e for e in SEEDED_FAULTS if e.name == name)
    asked, kills = Asked(entry_of(seeded)), {}
    planned_cases = _asked(asked.entry, seeded.killer)
    for planned in planned_cases:
        check = planned.check.name
        if check in kills or not asked.kills(planned):
            continue
        finding = asked.findings[planned.case]
        # The claimed check must see the bug itself, and not an error that comes of a slip in the seeded fault.
        if check != seeded.killer or finding.raised is seeded.raises:
            kills[check] = planned.case.id
    asked = tuple(sorted({planned.check.name for planned in planned_cases}))
    bug = (seeded.variant.__doc__ or "").strip()
    return Killed(
        name, bug, seeded.like, seeded.fault, seeded.killer, seeded.severity.value, kills, asked, seeded.before
    )
