"""Gradient flow at t=0 as a strip, and cost beside peft: the figures that need one object each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conformance.nouns.facts import FlowFacts
from conformance.reporting.html import svg

CELL, HIGH, LEFT = 92.0, 26.0, 90.0
WIDTH, NAMES, RIGHT, ROW = 760.0, 250.0, 40.0, 24.0
DOUBLINGS = tuple(2.0**n for n in range(-2, 9))


def gradient_flow(name: str, flow: FlowFacts) -> str:
    """Two rows, the subject's and the reference's; one cell a tensor, ``dead`` or ``live``."""
    parts, words = [], []
    for column, pair in enumerate(flow.tensors):
        x = LEFT + CELL * column
        label = "input x" if pair.name == "x" else pair.name
        parts.append(svg.text(label, x + CELL / 2, 16, anchor="middle"))
        words.append(f"{label}: {pair.subject} (reference {pair.reference})")
        for row, word in enumerate((pair.subject, pair.reference)):
            y = 24 + (HIGH + 4) * row
            kind = f"cell {word}" + ("" if pair.subject == pair.reference else " bad")
            parts.append(svg.element("rect", x=x + 2, y=y, width=CELL - 4, height=HIGH, rx=4, class_=kind))
            parts.append(svg.text(word, x + CELL / 2, y + 17, "inside", "middle"))
    for row, side in enumerate(("subject", "reference")):
        parts.append(svg.text(side, LEFT - 8, 24 + (HIGH + 4) * row + 17, anchor="end"))
    width = max(LEFT + CELL * len(flow.tensors) + 4, 300.0)
    return svg.figure(name, width, 24 + 2 * (HIGH + 4), "Gradient flow at t=0", "; ".join(words) + ".", parts)


def timed_at(costs: Mapping[str, Any], variant: str) -> list[dict[str, Any]]:
    """The rows of ``cost.json`` with times of forward and backward together, of one variant on the CPU."""
    rows = costs.get("times", {}).get("timed", ())
    return [row for row in rows if row["name"] == variant and row["device"] == "cpu"]


def cost_of_one(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Time over the bare layer's at every measured point, with its spread."""
    named = [(_point(row["point"]), row) for row in rows]
    return _times(name, "Time beside peft, at every measured point", named)


def cost_of_all(name: str, costs: Mapping[str, Any], variants: Iterable[str]) -> str:
    """The same for every variant, at the point where the counts are taken."""
    counted = costs.get("counts", {}).get("counted", ())
    point = counted[0]["point"] if counted else None
    named = [(v, row) for v in variants for row in timed_at(costs, v) if row["point"] == point]
    where = f" ({_point(point)})" if point else ""
    return _times(name, f"Time beside peft, forward and backward{where}", named)


def _point(point: Mapping[str, Any]) -> str:
    return f"{point['d']} wide, {point['tokens']} tokens, r={point['r']}" + (
        "" if point["dtype"] == "float32" else f", {point['dtype']}"
    )


def _times(name: str, heading: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    if not rows:
        return ""
    spreads = [row[side]["both"] for _, row in rows for side in ("ours", "peft") if row[side] is not None]
    low = min(1.0, *(s["low"] for s in spreads))
    high = max(2.0, *(s["high"] for s in spreads))
    ticks = [t for t in DOUBLINGS if low / 2 < t < high * 2]
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def at(value: float) -> float:
        return NAMES + (math.log2(value / low) / math.log2(high / low)) * (WIDTH - NAMES - RIGHT)

    bottom = 26 + ROW * len(rows)
    parts = [svg.mark("ok", NAMES, 10, "here", 4), svg.text("here", NAMES + 9, 14)]
    parts += [svg.mark("declared", NAMES + 60, 10, "peft", 4), svg.text("peft", NAMES + 69, 14)]
    for tick in ticks:
        x = at(tick)
        parts.append(svg.element("line", x1=x, x2=x, y1=22, y2=bottom, class_="limit" if tick == 1 else "grid"))
        parts.append(svg.text(f"{tick:g}", x, bottom + 16, anchor="middle"))
    parts.append(
        svg.text(
            "times the bare layer; line: first to third quartile", (NAMES + WIDTH) / 2, bottom + 34, anchor="middle"
        )
    )
    told = []
    for place, (label, row) in enumerate(rows):
        y = 26 + ROW * (place + 0.5)
        parts.append(svg.text(label, NAMES - 10, y + 4, anchor="end"))
        for side, kind, off, who in (("peft", "declared", 4.0, "peft"), ("ours", "ok", -4.0, "here")):
            if row[side] is None:
                continue
            spread = row[side]["both"]
            words = f"{label}, {who}: {spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"
            told.append(words)
            parts.append(
                svg.element(
                    "line", x1=at(spread["low"]), x2=at(spread["high"]), y1=y + off, y2=y + off, class_=f"spread {kind}"
                )
            )
            parts.append(svg.mark(kind, at(spread["median"]), y + off, words, 3.5))
    return svg.figure(name, WIDTH, bottom + 42, heading, "; ".join(told) + ".", parts)
