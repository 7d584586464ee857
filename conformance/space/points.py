"""Points of the space for an entry and a reference, as probes and back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance.measuring.trial import NO_DROPOUT
from conformance.nouns.entry import Entry
from conformance.nouns.probe import SHORT_DTYPES, Probe
from conformance.space.axes import DTYPES, GRADLESS, KINDS, Axis, Point
from conformance.space.cover import Covering, cover
from conformance.space.options import OPTIONS
from conformance.space.scope import FIELDS, Space, space_of
from refs.reference import Built, ClosedForm, Recorded, Reference

CORPUS = Path(__file__).with_name("corpus.txt")
"""Cases that the fuzzer found and somebody kept, one id a line: part of every plan."""
CHECK = "space"
"""The check that is asked at these points."""
COVERAGE = "coverage"
"""The case of the variant that says what all points together cover."""
MARKS = ("attached", "by", "calls", "grad", "keyword", "layer", "life", "memory", "autocast", "steer", "seed")
"""What a probe's ``point`` may hold: the axes that no other field of a probe stands for."""


def probe_at(
    point: Point, fixed: Iterable[tuple[str, Any]] = (), of_reference: Iterable[tuple[str, Any]] = ()
) -> Probe:
    """The probe of a point. ``fixed``: options that are always set; ``of_reference``: what a reference sets by itself,
    which has to be said against where the point has the default.
    """
    base, adapter = DTYPES[point["dtype"]]
    options = _options_at(point, fixed, of_reference)
    marks: dict[str, Any] = {
        "attached": point["attached"] if point["attached"] != "train" else None,
        "by": point["by"] if point["by"] not in (0.0, 0.5) else None,
        "calls": point["calls"] if point["calls"] != "once" else None,
        "grad": point["mode"] if point["mode"] in GRADLESS else None,
        "keyword": point["keyword"] or None,
        "layer": point["layer"] if point["layer"] != KINDS[0] else None,
        "life": point["life"] if point["life"] != "fresh" else None,
        "memory": point["memory"] if point["memory"] != "plain" else None,
        "autocast": point["autocast"] or None,
        "steer": point.get("steer") or None,
    }
    d_in, d_out = point["size"]
    return Probe(
        state="perturbed" if point["by"] else "t0",
        dtype=base,
        adapter=adapter,
        d_in=d_in,
        d_out=d_out,
        r=point.get("r", 4),
        alpha=point.get("alpha", 8.0),
        bias=point["bias"],
        batch=point["batch"],
        training=point["mode"] == "train",
        options=options,
        point=tuple((name, value) for name, value in marks.items() if value is not None),
    )


def _options_at(
    point: Point, fixed: Iterable[tuple[str, Any]], of_reference: Iterable[tuple[str, Any]]
) -> tuple[tuple[str, Any], ...]:
    said = {name: value for name, value in point.items() if name not in FIELDS}
    defaults = {axis.name: axis.values[0] for options in OPTIONS.values() for axis in options.axes} | {"dropout": 0.0}
    own = dict(of_reference)
    options = {n: v for n, v in said.items() if n in own or v != defaults.get(n, object())}
    options = {n: v for n, v in options.items() if v is not None}
    if options.get("cov_orient"):
        options["calibration"] = "rows"
    return tuple(sorted({**{n: v for n, v in own.items() if n not in said}, **dict(fixed), **options}.items()))


def option_pairs(entry: Entry, reference: Reference, probe: Probe) -> tuple[Probe, ...]:
    """The probe under few option sets that have every pair of values of two options in one of them at least."""
    space = space_of(entry, reference)
    here = {"size": (probe.d_in, probe.d_out), "r": probe.r, "by": 0.0 if probe.state == "t0" else 0.5}
    at = tuple(Axis(name, (value,), "as the probe has it") for name, value in here.items())
    own = dict(reference.options)
    axes = (replace(a, values=(own[a.name],)) if a.name in own else a for a in space.axes if a.option)
    array = cover((*axes, *at), space.rules)
    sets = dict.fromkeys(_options_at(point, space.fixed, reference.options) for point in array.points)
    return tuple(replace(probe, options=options) for options in sets)


_kept: dict[tuple[Any, ...], Covering] = {}


def covering(entry: Entry, reference: Reference) -> tuple[Space, Covering]:
    """The points for this entry and this reference. A closed form is asked first wherever a layer is asked and it can
    answer, so that it is a witness there.
    """
    space = space_of(entry, reference)
    key = (entry.method, reference.id, entry.has_rank, entry.has_dropout, entry.invariants, space.excused)
    if key not in _kept:
        presets: list[Point] = []
        if isinstance(reference, ClosedForm) and entry.method is not None:
            layers = [r for r in entry.method.built if asked(r)]
            presets = [p for r in layers for p in covering(entry, r)[1].points if _within(p, space)]
        _kept[key] = cover(space.axes, space.rules, _each_once(presets))
    return space, _kept[key]


def asked(reference: Reference) -> bool:
    """Whether this check is asked of the reference."""
    return not (isinstance(reference, Built | Recorded) and reference.checks and CHECK not in reference.checks)


def _each_once(points: Iterable[Point]) -> list[Point]:
    return list({repr(point): point for point in points}.values())


def _within(point: Point, space: Space) -> bool:
    named = all(axis.name in point and point[axis.name] in axis.values for axis in space.axes)
    return named and not any(rule.breaks(point) for rule in space.rules)


def probes_of(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Every point of the array and of the corpus, as probes."""
    if entry.method is None or not asked(reference):
        return ()
    space, array = covering(entry, reference)
    made = [probe_at(point, space.fixed, reference.options) for point in array.points]
    if reference == next((r for r in entry.method.references if asked(r)), None):
        made.append(Probe(label=COVERAGE))
    return tuple({probe.id: probe for probe in (*made, *_of_the_corpus(entry, reference))}.values())


def _of_the_corpus(entry: Entry, reference: Reference) -> list[Probe]:
    lines = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.is_file() else []
    start = f"{entry.name}/{reference.id}/{CHECK}/"
    return [read(line.strip().removeprefix(start)) for line in lines if line.strip().startswith(start)]


def witness_at(entry: Entry, probe: Probe) -> ClosedForm | None:
    """The closed form, if it can be asked under this probe."""
    closed = None if entry.method is None else entry.method.closed
    if closed is None or not closed.covers(probe.settings):
        return None
    point = dict(probe.point)
    exact = probe.dtype == probe.adapter == "float64" and "autocast" not in point
    drops = dict(probe.options).get("dropout", 0.0) > NO_DROPOUT
    derived = "grad" in point or (closed.pullback is not None and point.get("calls") != "double")
    return closed if exact and not drops and derived else None


def read(text: str) -> Probe:
    """The probe with this id. ValueError for one that is no probe's."""
    parts = re.split(r"-(?=[a-z])", text)
    long = {short: name for name, short in SHORT_DTYPES.items()}
    fields: dict[str, Any] = {"bias": True, "options": {}, "point": {}}
    for part in parts:
        name, equals, value = part.partition("=")
        if part in ("t0", "perturbed"):
            fields["state"] = part
        elif re.fullmatch(r"(f64|f32|bf16|f16)(\+\w+)?", part):
            base, _, adapter = part.partition("+")
            fields["dtype"] = long[base]
            fields["adapter"] = long[base] if not adapter else long.get(adapter)
        elif found := re.fullmatch(r"(in|out|r)(\d+)", part):
            fields[{"in": "d_in", "out": "d_out", "r": "r"}[found[1]]] = int(found[2])
        elif found := re.fullmatch(r"alpha([-+.e\d]+)", part):
            fields["alpha"] = float(found[1])
        elif part in ("bias", "nobias"):
            fields["bias"] = part == "bias"
        elif found := re.fullmatch(r"batch([\dx]+)", part):
            fields["batch"] = tuple(map(int, found[1].split("x")))
        elif part == "nobatch":
            fields["batch"] = ()
        elif part == "train":
            fields["training"] = True
        else:
            fields["point" if name in MARKS else "options"][name] = _value(value) if equals else True
    for kind in ("options", "point"):
        fields[kind] = tuple(sorted(fields[kind].items()) if kind == "options" else fields[kind].items())
    probe = Probe(**fields)
    if probe.id != text:
        raise ValueError(f"got {text!r}, which reads as {probe.id!r}; want the id of a configuration")
    return probe


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
