"""Figures of lines in small panels: how both sides' initial values are distributed, and how losses fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.nouns.finding import Drawn
from conformance.reporting.html import svg
from conformance.reporting.html.names import figure

PANEL, HIGH, GAP, HEAD, FOOT, LEFT = 200.0, 120.0, 54.0, 46.0, 26.0, 46.0
IN_A_ROW = 3
SIDES = (("ours", "here", "ok"), ("peft", "peft", "declared"), ("control", "control, shuffled targets", "missing"))
"""Key in ``learning.json``, words, class."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: its class, what a pointer over it names, and its points."""

    kind: str
    told: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """Axes with a heading, and the lines in it."""

    heading: str
    lines: tuple[Line, ...]


def initial_distributions(name: str, drawn: Sequence[Drawn]) -> str:
    """A panel per tensor that starts at random: the share of its values below each value, on both sides."""
    panels, told = [], []
    for each in drawn:
        sides = (("ok", "subject", each.subject), ("declared", "reference", each.reference))
        lines = []
        for kind, who, quantiles in sides:
            shares = [n / (len(quantiles) - 1) for n in range(len(quantiles))]
            words = f"{each.name}, {who}: {_spread(quantiles)}"
            lines.append(Line(kind, words, tuple(zip(quantiles, shares, strict=True))))
            told.append(words)
        panels.append(Panel(each.name, tuple(lines)))
    keys = (("ok", "subject"), ("declared", "reference"))
    return _figure(name, "Initial distributions, both sides", "; ".join(told) + ".", panels, keys)


def loss_curves(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A panel per model: training loss by step, the mean over the seeds, of rows of ``learning.json``."""
    panels, told = [], []
    for row in rows:
        lines = []
        for key, words, kind in SIDES:
            runs = [seed[key] for seed in row["seeds"] if seed.get(key) is not None]
            if not runs:
                continue
            means = [sum(at) / len(at) for at in zip(*(run["curve"] for run in runs), strict=True)]
            held = [sum(run["held_out"][n] for run in runs) / len(runs) for n in (0, -1)]
            said = f"{row['model']}, {words}: held-out loss {held[0]:.3f} before, {held[1]:.3f} after"
            told.append(said)
            lines.append(Line(kind, said, tuple((float(n + 1), mean) for n, mean in enumerate(means))))
        panels.append(Panel(row["model"], tuple(lines)))
    keys = [(kind, words) for _, words, kind in SIDES if any(line.kind == kind for p in panels for line in p.lines)]
    return _figure(name, "Training loss by step, mean over the seeds", "; ".join(told) + ".", panels, keys)


def _spread(quantiles: Sequence[float]) -> str:
    low, middle, high = quantiles[0], quantiles[len(quantiles) // 2], quantiles[-1]
    return f"{figure(low)} to {figure(high)}, median {figure(middle)}"


def _figure(name: str, heading: str, told: str, panels: Sequence[Panel], keys: Sequence[tuple[str, str]]) -> str:
    if not panels:
        return ""
    parts = []
    x = LEFT
    for kind, words in keys:
        parts.append(svg.element("line", x1=x, x2=x + 22, y1=10.0, y2=10.0, class_=f"curve {kind}"))
        parts.append(svg.text(words, x + 28, 14))
        x += 50 + 7 * len(words)
    for place, panel in enumerate(panels):
        left = LEFT + (PANEL + GAP) * (place % IN_A_ROW)
        parts += _panel(panel, left, HEAD + (HIGH + FOOT + HEAD) * (place // IN_A_ROW))
    columns, rows = min(len(panels), IN_A_ROW), -(-len(panels) // IN_A_ROW)
    width = max(x, LEFT + columns * (PANEL + GAP))
    return svg.figure(name, width, HEAD + rows * (HIGH + FOOT + HEAD) - HEAD + 8, heading, told, parts)


def _panel(panel: Panel, left: float, top: float) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    xs, ys = _range([x for x, _ in points]), _range([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return left + PANEL * (x - xs[0]) / (xs[1] - xs[0]), top + HIGH * (ys[1] - y) / (ys[1] - ys[0])

    bottom, right = top + HIGH, left + PANEL
    parts = [svg.text(panel.heading, left, top - 8, "inside")]
    parts += [svg.element("line", x1=left, x2=right, y1=y, y2=y, class_="grid") for y in (top, top + HIGH / 2, bottom)]
    for value, y in ((ys[1], top), (ys[0], bottom)):
        parts.append(svg.text(f"{value:.3g}", left - 6, y + 4, anchor="end"))
    for value, x, anchor in ((xs[0], left, "start"), (xs[1], right, "end")):
        parts.append(svg.text(f"{value:.3g}", x, bottom + 16, anchor=anchor))
    for line in panel.lines:
        places = " ".join(",".join(map(svg.number, at(*point))) for point in line.points)
        parts.append(svg.element("polyline", svg.title(line.told), points=places, class_=f"curve {line.kind}"))
    return parts


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
