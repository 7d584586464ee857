"""Costs <-> ``cost.json``, a row per line. What is measured anew takes the place of its old rows alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from math import floor, log10
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from conformance.cost.measure import Costs, Models
from conformance.cost.whole.step import Stepped

FORMAT = 2
DIGITS = 6
"""Of a time or a ratio: more than the report shows of the largest."""
COUNTS = ("counted", "growth", "rotation")


def dumped(costs: Costs) -> str:
    """JSON text: what is counted apart from what is timed, and whole models apart from layers."""
    everything = asdict(costs)
    split = {
        "format": FORMAT,
        "models": everything.pop("models"),
        "counts": {name: everything.pop(name) for name in COUNTS},
        "times": everything,
    }
    return _text(split) + "\n"


def loaded(text: str) -> Costs:
    """The costs of such a text. ValueError: it is of another format."""
    data = json.loads(text)
    if data.get("format") != FORMAT:
        raise ValueError(f"cost.json: got format {data.get('format')}, want {FORMAT}. Measure everything anew.")
    costs: Costs = _build(Costs, {**data["counts"], **data["times"], "models": data["models"]})
    return costs


def updated(old: Costs, new: Models, order: Iterable[str]) -> Costs:
    """The old costs with rows on whole models from ``new``, which take the place of those of the same variant.

    ``order``: all variants; a row of one that is not among them is left out. Rows of another commit, or of another
    machine, are left out too: one table has one of each.
    """
    before = old.models.rows if old.models is not None and old.models.machine == new.machine else ()
    rows = {**_by_key(before), **_by_key(new.rows)}
    places = {name: place for place, name in enumerate(order)}
    kept = sorted((row for row in rows.values() if row.name in places), key=lambda row: places[row.name])
    return replace(old, models=replace(new, rows=tuple(kept)))


def _by_key(rows: Iterable[Stepped]) -> dict[tuple[str, str, str], Stepped]:
    return {(row.name, row.shape, row.way): row for row in rows}


def _text(value: Any, indent: str = "") -> str:
    """JSON whose lines are rows: an object of rows or of tables is opened, anything inside a row is not."""
    if isinstance(value, Mapping) and _holds_rows(value):
        inner = [f"{indent} {json.dumps(key)}: {_text(each, indent + ' ')}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return "[\n" + ",\n".join(f"{indent} {_text(each)}" for each in value) + f"\n{indent}]"
    return json.dumps(_rounded(value), sort_keys=True, separators=(",", ":"))


def _holds_rows(value: Mapping[str, Any]) -> bool:
    inner = [each for each in value.values() if isinstance(each, Mapping | list | tuple)]
    return any(isinstance(each, list | tuple) and each and isinstance(each[0], Mapping) for each in inner) or any(
        _holds_rows(each) for each in inner if isinstance(each, Mapping)
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float) and value and abs(value) < float("inf"):
        return round(value, DIGITS - 1 - floor(log10(abs(value))))
    return value


def _build(kind: Any, value: Any) -> Any:
    """A value of this type out of plain data."""
    if value is None or kind is Any:
        return value
    if isinstance(kind, UnionType):
        return _build(next(each for each in get_args(kind) if each is not NoneType), value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{f.name: _build(hints[f.name], value[f.name]) for f in fields(kind) if f.name in value})
    if get_origin(kind) is tuple:
        return tuple(_build(get_args(kind)[0], each) for each in value)
    if get_origin(kind) is dict:
        return {key: _build(get_args(kind)[1], each) for key, each in value.items()}
    return kind(value)
