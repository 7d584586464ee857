"""A case of the plan and what was found in it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self


class Outcome(StrEnum):
    """The answer of one check under one probe."""

    AGREE = "AGREE"
    DIFFER = "DIFFER"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    ERROR = "ERROR"
    """The question could not be asked: the reference failed, drifted, or the check itself broke."""


class Fault(StrEnum):
    """Whose a difference is."""

    SUBJECT = "SUBJECT"
    REFERENCE = "REFERENCE"


class Severity(StrEnum):
    """How much a difference weighs in the lists of the index."""

    MUST_FIX = "MUST-FIX"
    NICE_TO_HAVE = "NICE-TO-HAVE"


@dataclass(frozen=True, order=True)
class Case:
    """One thing to be measured: ``variant/reference/check/probe``."""

    variant: str
    reference: str
    check: str
    probe: str

    @property
    def id(self) -> str:
        """The case on one line."""
        return f"{self.variant}/{self.within}"

    @property
    def within(self) -> str:
        """The case without the variant: what a declared deviation speaks of."""
        return f"{self.reference}/{self.check}/{self.probe}"


@dataclass(frozen=True)
class Finding:
    """What a check saw. ``error`` and ``limit`` are raw figures: they go to the raw evidence, never on a card.

    ``facts`` are stable statements for the card, keyed by what they are about.
    """

    case: str
    outcome: Outcome
    n_compared: int = 0
    what: str = ""
    error: float = 0.0
    limit: float = 0.0
    where: str = ""
    got: str = ""
    want: str = ""
    numeric: bool = False
    """``got`` and ``want`` are measured figures: kept off the cards, which must be the same on every machine."""
    fault: Fault = Fault.SUBJECT
    severity: Severity = Severity.MUST_FIX
    facts: dict[str, Any] = field(default_factory=dict)
    exact_bound: bool = False
    """``limit`` is what exact arithmetic allows: an error near it is no narrow escape."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        kinds: dict[str, type[StrEnum]] = {"outcome": Outcome, "fault": Fault, "severity": Severity}
        fields: dict[str, Any] = {key: kinds[key](value) if key in kinds else value for key, value in data.items()}
        return cls(**fields)

    @property
    def differing(self) -> tuple[str, ...]:
        """Everything that differs in this case, by name."""
        return tuple(self.facts.get("differs", (self.what,)))

    @property
    def asked(self) -> tuple[str, ...]:
        """Everything that was compared in this case, by name."""
        return tuple(self.facts.get("asked", (self.what,)))

    def message(self) -> str:
        """Got, want, where, and the next command, on one line."""
        return (
            f"{self.case}: {self.what or self.outcome}: got {self.got}, want {self.want}"
            + (f" at {self.where}" if self.where else "")
            + (f"; error {self.error:.2g}, limit {self.limit:.2g}" if self.limit else "")
            + f". Reproduce: conformance audit {self.case.split('/')[0]} --case '{self.case}'"
        )
