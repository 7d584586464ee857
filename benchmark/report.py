"""The table of runs as markdown and as plots: quality against trainable numbers, and against time."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark import table
from benchmark.settings import BARE
from conformance.planning.names import BadRequest
from learning.plot import STYLE

MARKDOWN, PLOT = "benchmark.md", "benchmark.svg"
COLORS = colormaps["Dark2"](range(8))
Row = dict[str, str]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone."""

    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """The variant with the options that were set."""
        first = self.rows[0]
        return f"{first['variant']} ({first['options']})" if first["options"] else first["variant"]

    def mean(self, column: str) -> float:
        """Over the runs."""
        return statistics.mean(float(row[column] or "nan") for row in self.rows)

    @property
    def error(self) -> float:
        """Standard error of the exact match: of the questions, and over the seeds where there are several."""
        n = self.mean("questions")
        share = (self.mean("right") + 1) / (n + 2)  # of all or none right, the error is not zero
        sampling = sqrt(share * (1 - share) / n)
        if len(self.rows) < 2:
            return sampling
        return max(sampling, statistics.stdev(float(r["exact_match"]) for r in self.rows) / sqrt(len(self.rows)))


def write(results: Path, folder: Path) -> list[Path]:
    """Both files. BadRequest: no row in the table."""
    found = groups(table.rows(results))
    if not found:
        raise BadRequest(f"--results: got {results} with no row, want a run at least.")
    folder.mkdir(parents=True, exist_ok=True)
    files = {MARKDOWN: markdown(found), PLOT: svg(found)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in files]


def groups(rows: Sequence[Row]) -> list[Group]:
    """By settings. Of a run that was measured again with the same seed, the last row counts. Best first."""
    by: dict[str, dict[str, Row]] = {}
    for row in rows:
        by.setdefault(row["group"], {})[row["seed"]] = row
    found = [Group(tuple(each.values())) for each in by.values()]
    return sorted(found, key=lambda group: (-group.mean("exact_match"), group.name, group.rows[0]["group"]))


def markdown(found: Sequence[Group]) -> str:
    """The table. Groups of different models, data or amounts of training are in tables of their own."""
    lines = ["# Benchmark", ""]
    for setting in dict.fromkeys(_setting(group) for group in found):
        here = [group for group in found if _setting(group) == setting]
        lines += [f"## {setting}", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += ["| " + " | ".join(cell(group) for cell in COLUMNS.values()) + " |" for group in here] + [""]
    lines += [
        "Exact match: share of the test questions whose generated answer has the gold number, with the standard error: "
        "the larger one of that of the questions and that over the seeds. *No answer*: share of the generations that "
        "name no number. *Peak memory*: of a GPU's; on a CPU, the table of runs has the peak of the process. Rates and "
        "steps are those of the rows: a method that was given another rate may rank otherwise. "
        f"`{BARE}` is the base without an adapter.",
    ]
    return "\n".join(lines) + "\n"


def _setting(group: Group) -> str:
    row = group.rows[0]
    return (
        f"{Path(row['model']).name} {row['model_digest']} in {row['dtype']}; test {Path(row['test']).name} "
        f"{row['test_digest']} ({row['questions']} questions); {row['device']}, {row['processes']} process"
        f"{'es' if row['processes'] != '1' else ''}"
    )


COLUMNS: dict[str, Callable[[Group], str]] = {
    "variant": lambda g: g.name,
    "runs": lambda g: str(len(g.rows)),
    "exact match": lambda g: f"{100 * g.mean('exact_match'):.1f} ± {100 * g.error:.1f} %",
    "no answer": lambda g: f"{100 * g.mean('no_answer') / g.mean('questions'):.0f} %",
    "validation loss": lambda g: f"{g.mean('valid_loss'):.4f}",
    "trainable": lambda g: f"{round(g.mean('trainable')):,}",
    "lr": lambda g: g.rows[0]["lr"] if g.rows[0]["variant"] != BARE else "",
    "steps": lambda g: g.rows[0]["steps"] if g.rows[0]["variant"] != BARE else "",
    "records": lambda g: f"{g.rows[0]['train_size']} of {g.rows[0]['train_digest']}",
    "training": lambda g: f"{g.mean('train_seconds'):.1f} s",
    "answering": lambda g: f"{g.mean('answer_seconds'):.1f} s",
    "peak memory": lambda g: "-" if g.rows[0]["device"] == "cpu" else f"{g.mean('peak_bytes') / 2**20:.0f} MiB",
    "commit": lambda g: " ".join(sorted({_short(row["commit"]) for row in g.rows})),
}


def _short(commit: str) -> str:
    return commit[:9] + ("+" if "+" in commit else "")


def svg(found: Sequence[Group]) -> str:
    """A row of two panels for each table; the same rows give the same bytes. The base is a line."""
    settings = list(dict.fromkeys(_setting(group) for group in found))
    with rc_context({**STYLE, "svg.hashsalt": "benchmark"}):
        figure = Figure(figsize=(11, 4 * len(settings)), layout="constrained")
        for setting, panels in zip(settings, figure.subplots(len(settings), 2, squeeze=False), strict=True):
            here = [group for group in found if _setting(group) == setting]
            for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
                _panel(axes, here, column, label)
            panels[1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


PANELS = {"trainable": "trainable numbers", "train_seconds": "seconds of training"}
MARKERS = "osD^v<>PX*"


def _panel(axes: Axes, found: Sequence[Group], column: str, label: str) -> None:
    for at, group in enumerate(sorted(found, key=lambda each: each.name)):
        share, error = 100 * group.mean("exact_match"), 100 * group.error
        if group.rows[0]["variant"] == BARE:
            axes.axhline(share, color="#888888", linewidth=0.8, linestyle=":", label="the base")
            continue
        style: Any = {"color": COLORS[at % len(COLORS)], "marker": MARKERS[at % len(MARKERS)], "label": group.name}
        axes.errorbar(group.mean(column), share, yerr=error, linestyle="", markersize=5, elinewidth=0.8, **style)
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("exact match, %")
