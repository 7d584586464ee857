"""Error against limit: one dot a case, one row a check, along the error as a share of its limit (log scale)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.nouns.finding import Case, Finding
from conformance.reporting.html import svg
from conformance.reporting.html.names import MARKS, WORDS, figure
from conformance.reporting.state import State

LEFT, RIGHT, ROW, TOP, FOOT = 120.0, 60.0, 30.0, 30.0, 40.0
WIDTH = 760.0
LOW, HIGH = -6, 3
"""Decades of the axis. Smaller shares are drawn at its left end, larger ones at its right end."""
ZERO = LEFT + 12.0
"""Where errors of exactly 0 are drawn."""
BIN = 7.0
"""Dots that are nearer than this are put above each other."""


@dataclass(frozen=True)
class Dot:
    """A comparison with a limit: the worst one of its case."""

    case: Case
    finding: Finding
    state: State

    @property
    def kind(self) -> str:
        """Its class in the figure."""
        return MARKS[self.state]

    @property
    def share(self) -> float:
        """Error over limit; infinite if the error is no number."""
        share = self.finding.error / self.finding.limit
        return share if share == share else math.inf

    @property
    def told(self) -> str:
        """What the pointer says."""
        f = self.finding
        size = f"error {figure(f.error)}, limit {figure(f.limit)}"
        return f"{self.case.within}: {WORDS[self.kind]}; {f.what}: {size}"


def error_against_limit(name: str, dots: Sequence[Dot]) -> str:
    """An SVG text; empty if no comparison has a limit."""
    rows: dict[str, list[Dot]] = defaultdict(list)
    for dot in dots:
        rows[dot.case.check].append(dot)
    if not rows:
        return ""
    height = TOP + ROW * len(rows) + FOOT
    bottom = TOP + ROW * len(rows)
    parts = [*_axis(bottom)]
    for place, (check, members) in enumerate(rows.items()):
        y = TOP + ROW * (place + 0.5)
        parts.append(svg.element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y + ROW / 2, y2=y + ROW / 2, class_="grid"))
        parts.append(svg.text(check, LEFT - 8, y + 4, anchor="end"))
        parts += _row(members, y)
    return svg.figure(name, WIDTH, height, "Error against limit", _told(dots), parts)


def _told(dots: Sequence[Dot]) -> str:
    beyond = sum(dot.share > 1 for dot in dots)
    inside = [dot.share for dot in dots if dot.share <= 1]
    nearest = f"; the nearest of the others is at {figure(max(inside))} of its limit" if inside else ""
    return (
        f"{len(dots)} comparisons with a limit, {beyond} of them beyond it{nearest}. The tables below hold all figures."
    )


def _axis(bottom: float) -> list[str]:
    parts = [svg.text("0", ZERO, bottom + 16, anchor="middle")]
    for decade in range(LOW, HIGH + 1):
        x = _at(10.0**decade)
        parts.append(svg.element("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="limit" if decade == 0 else "grid"))
        words = {0: "limit", LOW: f"≤1e{LOW}", HIGH: f"≥1e{HIGH}"}.get(decade, f"1e{decade}")
        parts.append(svg.text(words, x, bottom + 16, anchor="middle"))
    parts.append(svg.text("agrees", _at(1.0) - 6, TOP - 8, anchor="end"))
    parts.append(svg.text("differs", _at(1.0) + 6, TOP - 8))
    parts.append(svg.text("error as a share of its limit", (LEFT + WIDTH - RIGHT) / 2, bottom + 34, anchor="middle"))
    return parts


def _at(share: float) -> float:
    if share == 0:
        return ZERO
    decade = HIGH if math.isinf(share) else min(max(math.log10(share), LOW), HIGH)
    start = ZERO + 44
    return start + (decade - LOW) / (HIGH - LOW) * (WIDTH - RIGHT - start)


def _row(dots: Sequence[Dot], y: float) -> list[str]:
    """The dots of one check; those at nearly one place alternate above and below the middle."""
    bins: dict[int, list[Dot]] = defaultdict(list)
    for dot in sorted(dots, key=lambda d: (d.share, d.case)):
        bins[round(_at(dot.share) / BIN)].append(dot)
    step = min(3.0, (ROW / 2 - 5) / max(1, max(len(members) for members in bins.values()) // 2))
    drawn = []
    for members in bins.values():
        for place, dot in enumerate(members):
            off = step * ((place + 1) // 2) * (-1 if place % 2 else 1)
            drawn.append((dot.kind != "ok", dot.case, svg.mark(dot.kind, _at(dot.share), y + off, dot.told)))
    return [shape for _, _, shape in sorted(drawn, key=lambda each: each[:2])]  # what does not agree comes on top
