"""``conformance cost``: measure, and write ``cost.md``, ``cost.json`` and ``cost.svg``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.cost.measure import Costs


LAYERS, MODELS, DECODING = "layers", "models", "decoding"
PARTS = (LAYERS, MODELS)
QUIET = {"KINETO_LOG_LEVEL": "5"}
"""torch's profiler reports every start and stop otherwise. It reads this when torch is imported."""


def write_costs(
    names: Sequence[str], *, quick: bool, out: Path, entries: str | None = None, parts: Sequence[str] = PARTS
) -> int:
    """Measure the named variants (all if none is named) and write the three files; 0 when they are written.

    A part that is not asked for stays as it is in ``out``; so do rows on whole models of variants that are not named,
    if they were measured at the same commit on the same machine.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from conformance.cost import measure, plot, render, stored
    from conformance.cost.subjects import contenders, rotations
    from conformance.cost.whole.shapes import SHAPES, TINY
    from conformance.planning.select import choose, entries_at

    everybody = entries_at(entries)
    chosen = choose(names, everybody)
    out.mkdir(parents=True, exist_ok=True)  # an unusable folder is an error now, not after the run
    costs = _before(out)
    if LAYERS in parts:
        models = costs.models
        costs = measure.measure(contenders(chosen), rotations(chosen), quick=quick, say=_say)
        costs = replace(costs, models=models)
    if DECODING in parts:
        rows = measure.measure_decoding(contenders(chosen), _say)
        costs = replace(costs, decoded=rows, decoded_on=measure.machine())
    if MODELS in parts:
        new = measure.measure_models(contenders(chosen), (TINY,) if quick else SHAPES, _say)
        costs = stored.updated(costs, new, [entry.name for entry in everybody])
    files = {render.NAMES["markdown"]: render.markdown(costs), render.NAMES["data"]: stored.dumped(costs)}
    if costs.counted:
        files[render.NAMES["plot"]] = plot.svg(costs)
    for name, text in files.items():
        whole = out / f".{name}.part"
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(out / name)
    print(f"{len(chosen)} variants. Costs: {out / render.NAMES['markdown']}")
    return 0


def _before(out: Path) -> Costs:
    """What was measured before; nothing where there is no file, or one of an older format."""
    from conformance.cost import measure, render, stored

    file = out / render.NAMES["data"]
    try:
        return stored.loaded(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return measure.Costs.none()
    except (ValueError, KeyError, TypeError) as error:
        _say(f"{file} is not kept: {error}")
        return measure.Costs.none()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
