"""What all points of a variant cover together, and what they leave out, with the reason: the table on the card."""

from __future__ import annotations

import dataclasses
from collections import Counter

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
    references = [reference for reference in method.references if asked(reference)]
    asked_for: dict[str, dict[str, None]] = {}
    meanings: dict[str, str] = {}
    excuses: Counter[tuple[str, str]] = Counter()
    missing: list[str] = []
    points = pairs = 0
    for reference in references:
        space, array = covering(entry, reference)
        points, pairs = points + len(array.points), pairs + array.pairs
        missing += [f"{reference.id}: {pair}" for pair in array.missing]
        for point in array.points:
            probe = probe_at(point, space.fixed, reference.options)
            if not reference.covers(probe.settings):
                missing.append(f"{reference.id} is not asked at {probe.id}")
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
        excuses.update((f"{what} ({reference.id})", why) for what, why in space.excused)
        grouped = Counter(why for _, why in array.excused)
        excuses.update({(f"{n} pair{'s' * (n > 1)} of values ({reference.id})", why): 1 for why, n in grouped.items()})
    missing += [f"config field {name}, which is on no axis" for name in fields_without_an_axis(entry)]
    axes = tuple(AxisFacts(name, meanings[name], tuple(values)) for name, values in asked_for.items())
    told_excuses = tuple(Excuse(what, why) for what, why in excuses)
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


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
