"""The counts and one point of time as a picture: ours beside peft's, one row per variant."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from conformance.cost.measure import Costs, Counted, Timed
from conformance.cost.points import COUNTED

STYLE: Any = {
    "svg.hashsalt": "cost",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DOUBLINGS = [2.0**n for n in range(13)]
OURS, PEFT = "#0b6e4f", "#c45b12"


def svg(costs: Costs) -> str:
    """An SVG text: the same costs give the same bytes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.32 * len(costs.counted) + 1.4), layout="constrained")
        flops, saved, seconds = figure.subplots(1, 3)
        names = [row.name for row in costs.counted]
        _panel(
            flops,
            "matrix flops over the bare layer",
            names,
            costs.counted,
            lambda side, row: side.flops / row.bare.flops,
            ratios=True,
        )
        _panel(saved, "saved for the backward, MB", names, costs.counted, lambda side, row: max(side.saved / 1e6, 1e-3))
        for row in costs.timed:
            if row.point == COUNTED and row.device == "cpu":
                _times(seconds, names.index(row.name), row)
        _frame(seconds, "forward + backward over the bare layer", len(names), (), ratios=True)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _panel(
    axes: Axes,
    title: str,
    names: Sequence[str],
    rows: Sequence[Counted],
    value: Callable[..., float],
    *,
    ratios: bool = False,
) -> None:
    for place, row in enumerate(rows):
        if row.peft is not None:
            axes.plot(value(row.peft, row), place, "D", color=PEFT, markersize=5)
        axes.plot(value(row.ours, row), place, "o", color=OURS, markersize=5)
    _frame(axes, title, len(names), names, ratios=ratios)


def _times(axes: Axes, place: int, row: Timed) -> None:
    for side, color, mark in ((row.peft, PEFT, "D"), (row.ours, OURS, "o")):
        if side is not None:
            axes.plot([side.both.low, side.both.high], [place, place], color=color, linewidth=1)
            axes.plot(side.both.median, place, mark, color=color, markersize=5)


def _frame(axes: Axes, title: str, count: int, names: Sequence[str], *, ratios: bool) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xscale("log")
    if ratios:  # they stay within one or two decades, whose usual ticks would overlap
        axes.xaxis.set_major_locator(FixedLocator(DOUBLINGS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count), names or [""] * count)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.plot([], [], "o", color=OURS, label="here")
    axes.plot([], [], "D", color=PEFT, label="peft")
    if names:
        axes.legend(loc="upper right", fontsize=8, frameon=False)
