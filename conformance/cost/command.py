"""``conformance cost``: measure, and write ``cost.md``, ``cost.json`` and ``cost.svg``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

QUIET = {"KINETO_LOG_LEVEL": "5"}
"""torch's profiler reports every start and stop otherwise. It reads this when torch is imported."""


def write_costs(names: Sequence[str], *, quick: bool, out: Path, entries: str | None = None) -> int:
    """Measure the named variants (all if none is named) and write the three files; 0 when they are written."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from conformance.cost import plot, render
    from conformance.cost.measure import measure
    from conformance.cost.subjects import contenders, rotations
    from conformance.planning.select import choose, entries_at

    chosen = choose(names, entries_at(entries))
    out.mkdir(parents=True, exist_ok=True)  # an unusable folder is an error now, not after the run
    costs = measure(contenders(chosen), rotations(chosen), quick=quick, say=_say)
    files = {
        render.NAMES["markdown"]: render.markdown(costs),
        render.NAMES["data"]: render.data(costs),
        render.NAMES["plot"]: plot.svg(costs),
    }
    for name, text in files.items():
        whole = out / f".{name}.part"
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(out / name)
    print(f"{len(chosen)} variants. Costs: {out / render.NAMES['markdown']}")
    return 0


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
