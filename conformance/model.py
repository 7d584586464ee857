"""The nouns: probe, case, finding, deviation, verdict. Imports none of its siblings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from refs.settings import Settings


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


SHORT_DTYPES = {"float64": "f64", "float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class Probe:
    """A fixed little world: base layer, input, state of the adapter. Its ``id`` is made from its fields.

    ``dtype`` is that of the base layer and the input; ``adapter`` that of the adapter's tensors, None for the side's
    own default. ``state``: ``t0`` or ``perturbed``. ``special`` names a corner case of the base or the input.
    """

    state: str = "perturbed"
    dtype: str = "float64"
    adapter: str | None = "float64"
    d_in: int = 12
    d_out: int = 20
    r: int = 4
    alpha: float = 6.0
    bias: bool = True
    batch: tuple[int, ...] = (5,)
    training: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    special: str = ""
    seed: int = 1
    label: str = ""
    """In place of the made id, for a question that needs no numbers."""

    @property
    def id(self) -> str:
        """Unique among the probes of a check; readable, and fit for a command line."""
        if self.label:
            return self.label
        adapter = "default" if self.adapter is None else SHORT_DTYPES[self.adapter]
        parts = [
            self.state,
            SHORT_DTYPES[self.dtype] + ("" if self.adapter == self.dtype else f"+{adapter}"),
            f"in{self.d_in}",
            f"out{self.d_out}",
            f"r{self.r}",
            f"alpha{self.alpha:g}",
            "bias" if self.bias else "nobias",
            "b" + ("x".join(map(str, self.batch)) or "none"),
            *(["train"] if self.training else []),
            *(name if value is True else f"{name}={value}" for name, value in self.options),
            *([self.special] if self.special else []),
        ]
        return "-".join(parts)

    @property
    def settings(self) -> Settings:
        """What both sides are asked to build."""
        return Settings(r=self.r, alpha=self.alpha, dtype=self.adapter, options=self.options)


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
        return f"{self.variant}/{self.reference}/{self.check}/{self.probe}"


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


@dataclass(frozen=True)
class Deviation:
    """A difference that the variant declares, as data. It must show on every run, and never widens a tolerance.

    ``cases`` is a pattern over case ids (``*`` and ``?``), ``shows`` patterns over what may differ in them: a case in
    which anything else differs too is not covered. ``scope`` says that the variant does not offer something: a
    note, not a lower label. ``by_default`` says that the difference shows under the default settings: then PARTIAL.
    """

    variant: str
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
