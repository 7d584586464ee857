"""A case of the plan and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from conformance.nouns import facts, plain
from conformance.nouns.facts import Facts


class Outcome(StrEnum):
    """The answer of one check under one probe."""

    AGREE = "AGREE"
    DIFFER = "DIFFER"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    ERROR = "ERROR"
    """The question could not be asked: the reference failed, drifted, or the check itself broke."""


class Fault(StrEnum):
    """Which side is wrong where the two differ."""

    SUBJECT = "SUBJECT"
    REFERENCE = "REFERENCE"


class Severity(StrEnum):
    """Whether a finding is the reason for BUGGY or UNPROVEN, or information."""

    MUST_FIX = "MUST-FIX"
    NOTE = "NOTE"


class Kind(StrEnum):
    """What a difference is; the label follows from it (docs/reading-a-card.md)."""

    REFERENCE = "differs from the reference"
    FLOAT64 = "differs in float64 only"
    STRICTER = "stricter than the reference"
    PROMISE = "a promise of its own broken"

    @property
    def minor(self) -> bool:
        """Whether it is listed without making the label BUGGY."""
        return self in (Kind.FLOAT64, Kind.STRICTER)


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


@dataclass(frozen=True, order=True)
class Compared:
    """A thing that was compared (``output``, ``gradient of A``), and the aspect if not its values (``dtype``)."""

    name: str
    aspect: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.aspect}" if self.aspect else self.name


@dataclass(frozen=True)
class Drawn:
    """A tensor that starts at random: quantiles of its values over all draws, equally spaced from least to largest."""

    name: str
    subject: tuple[float, ...]
    reference: tuple[float, ...]


SECOND = "through the gradients"
"""The aspect of a gradient of something that is made of gradients, as in a gradient penalty."""
RAISED = Compared("raised an error")
"""What differs where the subject raised and a value was expected."""


@dataclass(frozen=True)
class Finding:
    """What a check saw. ``error`` and ``limit`` are raw figures: they go to the raw evidence, never on a card."""

    case: str
    outcome: Outcome
    n_compared: int = 0
    what: str = ""
    """The worst difference, or the tightest agreement; for NOT_APPLICABLE why the reference cannot answer."""
    error: float = 0.0
    limit: float = 0.0
    where: str = ""
    got: str = ""
    want: str = ""
    numeric: bool = False
    """``got`` and ``want`` are measured figures: kept off the cards, which must be the same on every machine."""
    fault: Fault = Fault.SUBJECT
    severity: Severity = Severity.MUST_FIX
    facts: Facts | None = None
    """What the check states for the card."""
    asked: tuple[Compared, ...] = ()
    """Everything that was compared in this case."""
    differing: tuple[Compared, ...] = ()
    """Everything that differs in this case."""
    nans: int = 0
    """Numbers that are NaN on both sides at the same place, and so were not compared."""
    exact_bound: bool = False
    """``limit`` is what exact arithmetic allows: an error near it is no narrow escape."""
    at_fault: str = ""
    """What the reference does wrong, in words, where the check saw it and it is no matter of rounding."""
    kind: Kind = Kind.REFERENCE
    """What the difference is, where there is one."""
    float32_would_agree: bool = False
    """Everything that differs was compared in float64, and is within the limit that float32 has."""
    others: tuple[str, ...] = ()
    """What else differs, numbers first and the largest of them first."""
    subject_at: str = ""
    """``file:line`` of the audited side that the difference is about, where it is known better than by the class."""
    reference_at: str = ""
    explained: str = ""
    """The residual in words, where it is exactly of a known form."""
    drawn: tuple[Drawn, ...] = ()
    """How random starts are distributed on both sides: figures, kept off the cards like ``error``."""

    def __post_init__(self) -> None:
        if self.outcome is Outcome.DIFFER and not self.differing:
            # A difference that named nothing would be covered by every deviation and every witness.
            object.__setattr__(self, "differing", (Compared(self.what),))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        fields = {name: plain.data(value) for name, value in vars(self).items() if name != "facts"}
        return {**fields, "facts": facts.to_json(self.facts)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``to_json``. TypeError or ValueError for data that are no finding."""
        stated = facts.from_json(data["facts"]) if data.get("facts") is not None else None
        finding = plain.read(cls, {**data, "facts": None})
        return finding if stated is None else replace(finding, facts=stated)

    @property
    def raised(self) -> bool:
        """Whether the subject raised where a value was expected."""
        return RAISED in self.differing

    @property
    def in_words(self) -> str:
        """What was seen beside what was expected; without ``want`` (nothing could be compared) what was seen."""
        told = f"got {self.got}, want {self.want}" if self.want else self.got
        return f"{self.what or self.outcome}: {told}"

    def message(self) -> str:
        """Got, want, where, and the next command, on one line."""
        return (
            f"{self.case}: {self.in_words}"
            + (f" at {self.where}" if self.where else "")
            + (f"; error {self.error:.2g}, limit {self.limit:.2g}" if self.limit else "")
            + f". Reproduce: conformance audit {self.case.split('/')[0]} --case '{self.case}'"
        )
