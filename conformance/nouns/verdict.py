"""What the judge says of one variant, and what the variant declares about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from conformance.nouns.finding import Case, Finding


class Label(StrEnum):
    """The verdict on a variant, in order of precedence."""

    BUGGY = "BUGGY"
    UNPROVEN = "UNPROVEN"
    PARTIAL = "PARTIAL"
    CORRECT = "CORRECT"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Label).index(self)


@dataclass(frozen=True)
class Deviation:
    """A difference that the variant declares, as data. It must show on every run, and never widens a tolerance.

    ``cases`` is a pattern over ``reference/check/probe`` (``*`` and ``?``), ``shows`` patterns over what may differ in
    them: a case in which anything else differs too is not covered. ``scope`` says that the variant does not offer
    something: a note, not a lower label. ``by_default`` says that the difference shows under the default settings: then
    PARTIAL.
    """

    cases: str
    what: str
    why: str
    link: str
    by_default: bool
    scope: bool = False
    shows: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Decided:
    """A case with its finding and the deviation that covers it, if one does."""

    case: Case
    finding: Finding
    deviation: Deviation | None = None


@dataclass(frozen=True)
class Verdict:
    """The label of one variant and the cases that decided it."""

    variant: str
    label: Label
    reason: str
    buggy: tuple[Decided, ...] = ()
    unproven: tuple[tuple[str, str], ...] = ()
    """What is missing: case id (or other name) and why."""
    declared: tuple[tuple[Deviation, tuple[str, ...]], ...] = ()
    reference_faults: tuple[Decided, ...] = ()
    findings: dict[str, Finding] = field(default_factory=dict)
    """Every finding by case id."""
    minor: tuple[Decided, ...] = ()
    """What is stricter than the reference, or differs in float64 only, where no more was promised."""
