"""What a check states for the card beyond AGREE or DIFFER: one type per kind of fact.

A check makes the object, the evidence file carries it as JSON with its kind's name, and the card reads its attributes.
Facts are the same on every machine: words, flags, counts and bands, never a measured figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from conformance.nouns import plain


@dataclass(frozen=True)
class LockFacts:
    """A reference's source compared with ``refs/lock.json``."""

    location: str
    """``file:line``, with the object's name for a live reference."""
    drift: str
    """``NONE``, ``MINOR`` (comments or formatting) or ``MAJOR`` (code): the worst over the locked objects."""
    drifted: tuple[str, ...]
    """One line per object that changed: which, and how."""
    objects: int
    """How many locked objects were compared."""
    vectors: int = 0
    """Golden vectors that a transcription reproduces."""
    version: str = ""
    licence: str = ""
    url: str = ""
    """The source at the locked commit; empty for a transcription."""


class Pinned(StrEnum):
    """The state of a link to a paper or to the authors' code."""

    OK = "well-formed"
    NO_COMMIT = "not pinned to a commit"
    MALFORMED = "malformed link"
    NOT_ARXIV = "not an arXiv link"
    NO_TITLE = "no title"


@dataclass(frozen=True)
class LinkFacts:
    """Whether the links say exactly where a method comes from."""

    paper: Pinned
    author: Pinned
    paper_url: str = ""
    """The link as given, where it is not one to arXiv."""
    paper_online: str = ""
    """What ``refs/online.json`` says of it: when it was followed, and what was seen."""
    author_online: str = ""
    source_online: str = ""
    """The same of the files behind the reference."""
    gone: tuple[str, ...] = ()
    """One line per link that was DEAD or STALE when it was last reached."""


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of one side."""

    shape: str
    dtype: str
    trainable: str
    kind: str
    """``parameter``, ``buffer``, or ``plain`` for a tensor that the module does not register."""

    def __str__(self) -> str:
        return f"{self.shape}, {self.dtype}, trainable: {self.trainable}, {self.kind}"


@dataclass(frozen=True)
class TensorPair:
    """The tensor of that name on both sides; None where a side does not have it."""

    name: str
    subject: TensorFacts | None
    reference: TensorFacts | None


@dataclass(frozen=True)
class ParamsFacts:
    """The tensors of both sides, and how many numbers train."""

    tensors: tuple[TensorPair, ...]
    trainable: int
    trainable_reference: int


@dataclass(frozen=True)
class InfluenceFacts:
    """The tensors whose value does not change the output."""

    idle: tuple[str, ...]


@dataclass(frozen=True)
class InitialValue:
    """How a tensor starts in the reference: ``random``, ``constant`` or ``determined by weight or data``."""

    tensor: str
    kind: str


@dataclass(frozen=True)
class InitFacts:
    """How each tensor starts, and whether a fresh adapter leaves the output alone."""

    values: tuple[InitialValue, ...]
    identity: bool
    identity_reference: bool


@dataclass(frozen=True)
class SidePair:
    """A word about one tensor on each side."""

    name: str
    subject: str
    reference: str


@dataclass(frozen=True)
class FlowFacts:
    """Gradient flow at t=0: ``dead`` or ``live`` per tensor, and ``x`` for the input."""

    tensors: tuple[SidePair, ...]


@dataclass(frozen=True)
class OptionFacts:
    """How far both sides' gradients are from another one that the authors offer, as a share of it: ``equal``, or a
    decade.
    """

    option: str
    what: str
    tensors: tuple[SidePair, ...]


@dataclass(frozen=True)
class StepFacts:
    """Whether one step survives rounding when it is stored, per tensor."""

    base: str
    adapter: str
    shape: str
    tensors: tuple[SidePair, ...]


@dataclass(frozen=True)
class SubspaceFacts:
    """Bands of the sine of the largest angle to the exact principal subspace of the ``inputs``."""

    inputs: str
    subject: str
    reference: str


@dataclass(frozen=True)
class BasisFacts:
    """The band of the sine of the largest angle between the two sides' bases."""

    angle: str


@dataclass(frozen=True)
class RoundingFacts:
    """The decade of what is lost where a reference keeps a weight in a lower precision, as a share of the weight."""

    lost: str


class Sense(StrEnum):
    """Where a positive first angle turns the first singular direction, in its plane with the second one."""

    TOWARDS = "towards"
    AWAY = "away"
    STILL = "does not turn"
    NONE = "no such tensor"


@dataclass(frozen=True)
class AngleSenses:
    """The sense of one tensor of angles on each side."""

    tensor: str
    subject: Sense
    reference: Sense


@dataclass(frozen=True)
class SenseFacts:
    """Which way an angle of +x, as each side stores it, turns which basis."""

    basis: str
    """The option ``rotate_basis``: V, U or both."""
    options: tuple[str, ...]
    """The other options of the test configuration, as ``name=value``."""
    angles: tuple[AngleSenses, ...]


@dataclass(frozen=True)
class PairingFacts:
    """The outputs that the first angle rotates into output 0, on each side."""

    options: tuple[str, ...]
    """The options of the test configuration, as ``name=value``."""
    subject: tuple[int, ...]
    reference: tuple[int, ...]


@dataclass(frozen=True)
class AxisFacts:
    """One setting of the test configurations, and its values that were tested."""

    name: str
    meaning: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Excuse:
    """Values, or pairs of values of two settings, that no test configuration has, and why."""

    what: str
    why: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class CoverageFacts:
    """What the points of a covering array cover, over all references."""

    axes: tuple[AxisFacts, ...]
    points: int
    pairs: int
    excused: tuple[Excuse, ...]
    missing: tuple[str, ...]
    """What is neither covered nor excused."""


class Use(StrEnum):
    """What happened when a variant was used in some way."""

    WORKS = "works"
    REFUSES = "refuses"
    RAISES = "raises"
    DIFFERS = "differs"


@dataclass(frozen=True)
class Answer:
    """What happened: the variant's own error where it raised one, and what its numbers were compared with."""

    use: Use
    message: str = ""
    compared_with: str = ""
    bare: str = ""
    """What the layer without an adapter already gets wrong there."""


Facts = (
    LockFacts
    | LinkFacts
    | ParamsFacts
    | InfluenceFacts
    | InitFacts
    | FlowFacts
    | OptionFacts
    | StepFacts
    | SubspaceFacts
    | BasisFacts
    | RoundingFacts
    | SenseFacts
    | PairingFacts
    | CoverageFacts
    | Answer
)
KINDS: dict[str, type[Facts]] = {
    "lock": LockFacts,
    "links": LinkFacts,
    "params": ParamsFacts,
    "influence": InfluenceFacts,
    "init": InitFacts,
    "flow": FlowFacts,
    "option": OptionFacts,
    "step": StepFacts,
    "subspace": SubspaceFacts,
    "basis": BasisFacts,
    "rounding": RoundingFacts,
    "sense": SenseFacts,
    "pairing": PairingFacts,
    "coverage": CoverageFacts,
    "answer": Answer,
}
"""Every kind of fact by its name in the evidence file."""
NAMES = {kind: name for name, kind in KINDS.items()}


def to_json(facts: Facts | None) -> dict[str, Any] | None:
    """Plain data with the kind's name."""
    return None if facts is None else {"kind": NAMES[type(facts)], "is": plain.data(facts)}


def from_json(data: dict[str, Any] | None) -> Facts | None:
    """Inverse of ``to_json``. TypeError or ValueError for data that are no fact."""
    if data is None:
        return None
    if not isinstance(data, dict) or set(data) != {"kind", "is"} or data["kind"] not in KINDS:
        raise ValueError(f"facts: got {data!r}, want a kind among {', '.join(KINDS)} and its fields")
    return plain.read(KINDS[data["kind"]], data["is"])
