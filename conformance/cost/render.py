"""Costs -> markdown and JSON. Pure: the same costs give the same bytes, and no date is among them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.cost.counts import Counts
from conformance.cost.measure import Costs, Counted, Timed
from conformance.cost.points import TIMED, Point
from conformance.cost.timing import Spread

NAMES = {"markdown": "cost.md", "data": "cost.json", "plot": "cost.svg"}
FORMAT = 1
TEMPLATES = Path(__file__).with_name("templates")


def markdown(costs: Costs) -> str:
    """``cost.md``."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"mb": mb, "spread": spread, "micro": micro, "place": place, "whole": whole}
    environment.globals |= {"flops": flops, "by_name": by_name, "at": at, "unique": unique, "beside": beside}
    return environment.get_template("cost.md.j2").render(costs=costs).rstrip() + "\n"


def data(costs: Costs) -> str:
    """``cost.json``: what is counted apart from what is timed."""
    counts = ("counted", "growth", "rotation")
    everything = asdict(costs)
    split = {
        "format": FORMAT,
        "counts": {name: everything[name] for name in counts},
        "times": {name: value for name, value in everything.items() if name not in counts},
    }
    return json.dumps(split, indent=1, sort_keys=True) + "\n"


def flops(side: Counts | None, row: Counted) -> str:
    """Of forward and backward, over the bare layer's."""
    return "-" if side is None else f"{side.flops / row.bare.flops:.3f}"


def mb(size: int | None) -> str:
    """Megabytes (a million bytes)."""
    return "-" if size is None else f"{size / 1e6:.2f}"


def whole(number: int) -> str:
    """A count with its thousands apart."""
    return f"{number:,}".replace(",", " ")


def spread(value: Spread | None) -> str:
    """Median with its quartiles, and the number of rounds where it is not the usual one."""
    if value is None:
        return "-"
    return f"{value.median:.2f} [{value.low:.2f}, {value.high:.2f}]"


def micro(value: Spread | None) -> str:
    """The same of microseconds."""
    return "-" if value is None else f"{value.median:.0f} [{value.low:.0f}, {value.high:.0f}]"


def place(point: Point) -> str:
    """A point in words."""
    rank = "" if point.r == 16 else f" r{point.r}"
    return f"d{point.d} n{point.tokens}{rank}" + (" bf16" if point.dtype == "bfloat16" else "")


def by_name(rows: Any) -> dict[str, list[Any]]:
    """Rows by contender, in the order in which they come."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


def unique(rows: Any, attribute: str) -> list[Any]:
    """The values of an attribute, each once, in the order in which they come."""
    return list(dict.fromkeys(getattr(row, attribute) for row in rows))


@dataclass(frozen=True)
class Beside:
    """Every time on the CPU that has one of peft's beside it. ``mean``: geometric, of the medians."""

    rows: tuple[Timed, ...]
    mean: float
    worst: Timed


def beside(costs: Costs) -> Beside | None:
    """Over the points of ``TIMED``; None where peft has none of the methods."""
    rows = tuple(row for row in costs.timed if row.to_peft and row.device == "cpu" and row.point in TIMED)
    if not rows:
        return None
    medians = {row: row.to_peft.median for row in rows if row.to_peft}
    return Beside(rows, geometric_mean(medians.values()), max(rows, key=lambda row: medians[row]))


def at(rows: list[Any], **wanted: Any) -> Counted | Timed | None:
    """The first of the rows with these attributes."""
    return next((row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())), None)
