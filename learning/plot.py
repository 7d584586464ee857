"""A plot per variant: the loss over the steps, ours and peft's, the band over the seeds; the control beside them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learning.measure import Row, Run

STYLE: Any = {
    "svg.hashsalt": "learning",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
OURS, PEFT, CONTROL = "#0b6e4f", "#c45b12", "#888888"


def svg(rows: Sequence[Row]) -> str:
    """The rows of one variant, a panel per model: the same rows give the same bytes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(rows), 2.8), layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, row in zip(panels, rows, strict=True):
            _panel(axes, row)
        figure.suptitle(f"{rows[0].variant}, learning rate {rows[0].lr:g}", fontsize=10)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _panel(axes: Axes, row: Row) -> None:
    _band(axes, [seed.control for seed in row.seeds], CONTROL, "control, its own targets", ":")
    _band(axes, [seed.ours for seed in row.seeds], OURS, "here", "-")
    theirs = [seed.peft for seed in row.seeds if seed.peft is not None]
    if theirs:
        _band(axes, theirs, PEFT, "peft", "--")
    axes.set_title(row.model, fontsize=9)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.legend(fontsize=7, frameon=False)


def _band(axes: Axes, runs: Sequence[Run], color: str, label: str, line: str) -> None:
    curves = np.array([run.curve for run in runs])
    steps = np.arange(curves.shape[1])
    axes.plot(steps, curves.mean(axis=0), line, color=color, linewidth=1.2, label=label)
    axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15, linewidth=0)
