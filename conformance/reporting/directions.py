"""Tables of directions: which way an angle turns a basis, and which outputs an angle pairs, on every side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.nouns.facts import PairingFacts, SenseFacts
from conformance.reporting.view import CardView

SUBJECT = "subject"
NOT_ASKED = "-"
Options = tuple[str, ...]
Seen = tuple[tuple[str, ...], Options, str, str]
"""Heads of the row, options of the test configuration, side, what was seen there."""


@dataclass
class Line:
    """What every side does in these configurations."""

    heads: tuple[str, ...]
    options: list[Options]
    cells: dict[str, set[str]] = field(default_factory=dict)

    def cell(self, side: str) -> str:
        """What was seen on that side; of several cases everything."""
        return ", ".join(sorted(self.cells[side])) if side in self.cells else NOT_ASKED


@dataclass(frozen=True)
class Beside:
    """A table with one column per side."""

    sides: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def usual(self) -> Options:
        """The options of the first configuration: the table names only what is added to them or differs from them."""
        return self.lines[0].options[0]

    def named(self, line: Line) -> str:
        """``block_size=2; coeff=-1.0``: the configurations of a line."""
        told = (tuple(o for o in options if o not in self.usual) or self.usual for options in line.options)
        return "; ".join(", ".join(options) or "defaults" for options in told)


def senses(view: CardView) -> Beside | None:
    """Rotated basis and tensor -> the direction in which a positive angle turns it. None where nothing was recorded."""
    seen: list[Seen] = []
    for case, facts in view.stated(SenseFacts, "chirality"):
        for angle in facts.angles:
            heads = (facts.basis, angle.tensor)
            seen += [
                (heads, facts.options, SUBJECT, angle.subject),
                (heads, facts.options, case.reference, angle.reference),
            ]
    return _table(view, seen)


def pairings(view: CardView) -> Beside | None:
    """The output that the first angle rotates together with output 0. None where nothing was recorded."""
    seen: list[Seen] = []
    for case, facts in view.stated(PairingFacts, "pairing"):
        for side, partners in ((SUBJECT, facts.subject), (case.reference, facts.reference)):
            told = f"0 with {', '.join(map(str, partners))}" if partners else "0 with none"
            seen.append(((), facts.options, side, told))
    return _table(view, seen)


def _table(view: CardView, seen: Iterable[Seen]) -> Beside | None:
    """Configurations in which no side differs share a line."""
    single: dict[tuple[tuple[str, ...], Options], Line] = {}
    for heads, options, side, told in seen:
        line = single.setdefault((heads, options), Line(heads, [options]))
        line.cells.setdefault(side, set()).add(told)
    order_of_heads = list(dict.fromkeys(line.heads for line in single.values()))
    lines: list[Line] = []
    for line in sorted(single.values(), key=lambda line: (order_of_heads.index(line.heads), len(line.options[0]))):
        like = next((known for known in lines if _alike(known, line)), None)
        if like is None:
            lines.append(line)
        else:
            like.options += line.options
            like.cells |= line.cells
    asked = {side for line in lines for side in line.cells}
    method = view.entry.method
    order = (SUBJECT, *(r.id for r in (method.references if method is not None else ())))
    return Beside(tuple(side for side in order if side in asked), tuple(lines)) if lines else None


def _alike(one: Line, other: Line) -> bool:
    both = one.cells.keys() & other.cells.keys()
    return one.heads == other.heads and all(one.cells[side] == other.cells[side] for side in both)
