"""What all points of a variant cover together, and what they leave out, with the reason: the table on the card."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from conformance.nouns.entry import Entry
from conformance.nouns.facts import AxisFacts, CoverageFacts, Excuse
from conformance.space.axes import AXES, DROPOUT, RANKED, STEER
from conformance.space.cover import values_of
from conformance.space.options import EVERYWHERE, OPTIONS, Options
from conformance.space.points import asked, covering, probe_at


def coverage(entry: Entry) -> CoverageFacts:
    """Over every reference that is asked. ``missing``: values and pairs that are neither covered nor excused, points
    that a reference would not be asked, config fields that no axis varies.
    """
    method = entry.method
    assert method is not None
    references = [
        reference for reference in method.references if asked(reference) and entry.promises.has(reference.options)
    ]
    asked_for: dict[str, dict[str, None]] = {}
    meanings: dict[str, str] = {}
    excuses: dict[tuple[str, str], list[str]] = {}
    missing: list[str] = []
    points = pairs = 0
    for reference in references:
        space, array = covering(entry, reference)
        points, pairs = points + len(array.points), pairs + array.pairs
        missing += [f"{reference.id}: {pair}" for pair in array.missing]
        for point in array.points:
            probe = probe_at(point, space.fixed, reference.options)
            if not reference.covers(probe.settings):
                missing.append(f"{reference.id} is not tested at {probe.id}")
        told = " ".join(what for what, _ in (*array.excused, *space.excused))
        for axis in space.axes:
            meanings[axis.name] = axis.meaning
            seen = values_of(array.points, axis.name)
            asked_for.setdefault(axis.name, {}).update(dict.fromkeys(map(_word, seen)))
            missing += [
                f"{reference.id}: {axis.name}={value}"
                for value in axis.values
                if value not in seen and f"{axis.name}={value}" not in told
            ]
        for excuse in (*_in_words(space.excused, _values), *_in_words(array.excused, _pairs)):
            excuses.setdefault(excuse, []).append(reference.id)
    missing += [f"config field {name}, which is on no axis" for name in fields_without_an_axis(entry)]
    axes = tuple(AxisFacts(name, meanings[name], tuple(values)) for name, values in asked_for.items())
    told_excuses = tuple(Excuse(what, why, tuple(of)) for (what, why), of in excuses.items())
    return CoverageFacts(axes, points, pairs, told_excuses, tuple(dict.fromkeys(missing)))


def fields_without_an_axis(entry: Entry) -> list[str]:
    """Fields of the code's own ``Config``, if it has a dataclass of that name, that nobody varies."""
    config = getattr(entry.code, "Config", None)
    if not dataclasses.is_dataclass(config) or entry.method is None:
        return []
    options = OPTIONS.get(entry.method.name, Options())
    known = {axis.name for axis in (*AXES, DROPOUT, STEER, *options.axes)}
    known |= {*EVERYWHERE, *(name for name, _ in options.elsewhere), *RANKED}
    return [field.name for field in dataclasses.fields(config) if field.name not in known]


MOST = 4
"""Pairs of settings that are named with their values; of more, only the settings are."""


def _in_words(excused: Iterable[tuple[str, str]], told: Callable[[list[str]], str]) -> list[tuple[str, str]]:
    """What is left out and why, one of each reason."""
    by_reason: dict[str, list[str]] = {}
    for what, why in excused:
        by_reason.setdefault(why, []).append(what)
    return [(told(whats), why) for why, whats in by_reason.items()]


def _values(whats: list[str]) -> str:
    """``dtype=f32, bf16; autocast=yes``."""
    by_name: dict[str, list[str]] = {}
    for what in whats:
        name, value = _read(what)
        by_name.setdefault(name, []).append(value)
    return "; ".join(f"{name}={', '.join(values)}" for name, values in by_name.items())


def _pairs(whats: list[str]) -> str:
    """``mode=no_grad, inference with calls=again, double (4 pairs)``; of many, the settings and the number alone."""
    by_names: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for what in whats:
        (one, v), (other, w) = (_read(part) for part in what.split(" with "))
        by_names.setdefault((one, other), []).append((v, w))
    n = f"{len(whats)} pair{'' if len(whats) == 1 else 's'}"
    if len(by_names) > MOST:
        return "; ".join(f"{one} with {other}: {len(pairs)}" for (one, other), pairs in by_names.items()) + f" ({n})"
    return "; ".join(_two(*names, pairs) for names, pairs in by_names.items()) + ("" if len(whats) == 1 else f" ({n})")


def _two(one: str, other: str, pairs: list[tuple[str, str]]) -> str:
    """Pairs of values of two settings: all of some values with all of others, or value by value."""
    firsts, seconds = (list(dict.fromkeys(side)) for side in zip(*pairs))
    if set(product(firsts, seconds)) == set(pairs):
        return f"{one}={', '.join(firsts)} with {other}={', '.join(seconds)}"
    return "; ".join(f"{one}={v} with {other}={', '.join(w for u, w in pairs if u == v)}" for v in firsts)


def _read(what: str) -> tuple[str, str]:
    """Name and value of ``size=(260, 64)``, the value as in the table of settings."""
    name, _, text = what.partition("=")
    try:
        return name, _word(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return name, text


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
