"""Costs -> markdown and JSON. Pure: the same costs give the same bytes, and no date is among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.cost.counts import Counts
from conformance.cost.measure import Costs, Counted, Models, Timed
from conformance.cost.points import TIMED, Point
from conformance.cost.timing import Spread
from conformance.cost.whole.shapes import SHAPES
from conformance.cost.whole.step import Side, Stepped

NAMES = {"markdown": "cost.md", "data": "cost.json", "plot": "cost.svg"}
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
    environment.filters |= {
        "mb": mb,
        "spread": spread,
        "micro": micro,
        "place": place,
        "whole": whole,
        "step_ms": step_ms,
    }
    environment.globals |= {"flops": flops, "by_name": by_name, "at": at, "unique": unique, "beside": beside}
    environment.globals |= {"SHAPES": SHAPES, "by_way": by_way, "shapes_of": shapes_of}
    return environment.get_template("cost.md.j2").render(costs=costs).rstrip() + "\n"


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


def by_way(models: Models) -> dict[str, dict[str, dict[str, Stepped]]]:
    """Rows on whole models by way, variant and shape."""
    found: dict[str, dict[str, dict[str, Stepped]]] = {}
    for row in models.rows:
        found.setdefault(row.way, {}).setdefault(row.name, {})[row.shape] = row
    return found


def shapes_of(rows: dict[str, dict[str, Stepped]]) -> set[str]:
    """The names of the shapes that were measured."""
    return {shape for mine in rows.values() for shape in mine}


def step_ms(side: Side | None) -> str:
    """Median and quartiles of a step, in milliseconds with three digits."""
    if side is None:
        return "-"
    times = [
        f"{1e3 * t:.3g}" if t < 1 else f"{1e3 * t:.0f}"
        for t in (side.seconds.median, side.seconds.low, side.seconds.high)
    ]
    return f"{times[0]} [{times[1]}, {times[2]}]"


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
