"""Points of the space for an entry and a reference, as probes and back."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conformance.measuring.trial import NO_DROPOUT
from conformance.nouns.entry import Entry
from conformance.nouns.probe import SHORT_DTYPES, Probe
from conformance.space.axes import AXES, DROPOUT, DTYPES, EXACT, GRADLESS, RANKED, RULES, STEER, Axis, Point, Rule
from conformance.space.cover import Covering, cover
from conformance.space.options import OPTIONS, Options
from refs.reference import Built, ClosedForm, Live, Reference, Transcribed
from refs.settings import Settings

CORPUS = Path(__file__).with_name("corpus.txt")
"""Cases that the fuzzer found and somebody kept, one id a line: part of every plan."""
CHECK = "space"
"""The check that is asked at these points."""
COVERAGE = "coverage"
"""The case of the variant that says what all points together cover."""
MARKS = ("attached", "by", "calls", "grad", "keyword", "life", "memory", "autocast", "steer", "seed")
"""What a probe's ``point`` may hold: the axes that no other field of a probe stands for."""


@dataclass(frozen=True)
class Space:
    """What is asked of one entry beside one reference: axes, rules, and the values that are left out, with reasons."""

    axes: tuple[Axis, ...]
    rules: tuple[Rule, ...]
    excused: tuple[tuple[str, str], ...]
    """``axis=value``, and why."""
    fixed: tuple[tuple[str, Any], ...] = ()


def space_of(entry: Entry, reference: Reference) -> Space:
    """The axes of the method and of the entry, without the values that the reference or the entry cannot have."""
    assert entry.method is not None
    options = OPTIONS.get(entry.method.name, Options())
    axes = [axis for axis in AXES if entry.has_rank or axis.name not in RANKED]
    axes += [DROPOUT] if entry.has_dropout else []
    axes += options.axes
    axes += [STEER] if "steering" in entry.invariants else []
    left_out = [(axis, value, why) for axis, value, why in options.without]
    left_out += [(axis, value, why) for of, axis, value, why in options.wrong if of == reference.id]
    left_out += _without_a_life(entry) + _beyond(reference, axes) + _not_offered(entry, options)
    known = [(axis, value, why) for axis, value, why in left_out if any(a.name == axis for a in axes)]
    kept = []
    for axis in axes:
        gone = [value for name, value, _ in known if name == axis.name]
        kept.append(replace(axis, values=tuple(value for value in axis.values if value not in gone)))
    covered = _where_covered(reference, options, entry.has_rank)
    excused = tuple(dict.fromkeys((f"{axis}={value}", why) for axis, value, why in known))
    return Space(tuple(kept), (*RULES, *options.rules, *covered), excused, options.fixed)


def _without_a_life(entry: Entry) -> list[tuple[str, Any, str]]:
    life = entry.lifecycle
    has = {
        "saved": life is not None and life.save is not None and life.load is not None,
        "merged": life is not None and life.merge is not None and life.unmerge is not None,
    }
    gone: list[tuple[str, Any, str]] = [
        ("life", value, "the entry offers no function for it") for value, there in has.items() if not there
    ]
    if life is None or life.steer is None:
        gone.append(("steer", True, "the entry offers no function for it"))
    return gone


def _not_offered(entry: Entry, options: Options) -> list[tuple[str, Any, str]]:
    """Values of options that the code does not have: neither a field of its ``Config`` nor in an option set."""
    config = getattr(entry.code, "Config", None)
    offered = {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    offered |= {name for chosen in entry.options for name, _ in chosen}
    why = "the entry does not offer this option"
    return [(axis.name, value, why) for axis in options.axes if axis.name not in offered for value in axis.values[1:]]


def _beyond(reference: Reference, axes: Iterable[Axis]) -> list[tuple[str, Any, str]]:
    """Values that this reference has no answer to."""
    gone: list[tuple[str, Any, str]] = []
    if isinstance(reference, ClosedForm):
        why = "the closed form is in float64: how much rounding is allowed, only a layer can tell"
        gone += [("dtype", value, why) for value in DTYPES if value != EXACT]
        gone += [("autocast", True, why), ("dropout", 0.3, "the closed form draws no masks")]
        if reference.pullback is None:
            why = "nobody has worked the gradients of the closed form out"
            gone += [("mode", value, why) for value in ("train", "eval")]
    if isinstance(reference, Transcribed):
        why = "a transcription is one weight, which autocast rounds once, and a low-rank path at each product"
        gone.append(("autocast", True, f"{why}: execution_modes asks, over many draws"))
    if isinstance(reference, Live):
        for name, (base, adapter) in DTYPES.items():
            word = f"-{SHORT_DTYPES[base]}" + (
                "" if adapter == base else f"+{SHORT_DTYPES.get(adapter or '', 'default')}"
            )
            gone += [("dtype", name, why) for at, _, why in reference.cannot if fnmatchcase(f"x{word}-x", at)]
    fixed = dict(reference.options)
    for axis in axes:
        for value in axis.values if axis.name not in _FIELDS else ():
            settings = Settings(options=tuple(sorted({**fixed, axis.name: value}.items())))
            if not reference.covers(settings) and not isinstance(reference, ClosedForm):
                gone.append((axis.name, value, f"{reference.id} has no {axis.name}={value}"))
    return gone


_FIELDS = {axis.name for axis in (*AXES, STEER)}


def _where_covered(reference: Reference, options: Options, ranked: bool) -> tuple[Rule, ...]:
    """A reference that covers combinations only: asked of rank and options at once."""
    names = (*(("r",) if ranked else ()), *(axis.name for axis in options.axes))

    def uncovered(*values: Any) -> bool:
        said = dict(zip(names, values))
        r = said.pop("r", 4)
        return not reference.covers(Settings(r=r, options=tuple(sorted(said.items(), key=lambda pair: pair[0]))))

    return (Rule(names, uncovered, f"{reference.id} does not speak of it"),) if len(names) > 2 else ()


def probe_at(
    point: Point, fixed: Iterable[tuple[str, Any]] = (), of_reference: Iterable[tuple[str, Any]] = ()
) -> Probe:
    """The probe of a point. ``fixed``: options that are always set; ``of_reference``: what a reference sets by itself,
    which has to be said against where the point has the default.
    """
    base, adapter = DTYPES[point["dtype"]]
    said = {name: value for name, value in point.items() if name not in _FIELDS}
    defaults = {axis.name: axis.values[0] for options in OPTIONS.values() for axis in options.axes} | {"dropout": 0.0}
    own = dict(of_reference)
    options = {n: v for n, v in said.items() if n in own or v != defaults.get(n, object())}
    options = {n: v for n, v in options.items() if v is not None}
    if options.get("cov_orient"):
        options["calibration"] = "rows"
    options = {**{n: v for n, v in own.items() if n not in said}, **dict(fixed), **options}
    marks: dict[str, Any] = {
        "attached": point["attached"] if point["attached"] != "train" else None,
        "by": point["by"] if point["by"] not in (0.0, 0.5) else None,
        "calls": point["calls"] if point["calls"] != "once" else None,
        "grad": point["mode"] if point["mode"] in GRADLESS else None,
        "keyword": point["keyword"] or None,
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
        options=tuple(sorted(options.items())),
        point=tuple((name, value) for name, value in marks.items() if value is not None),
    )


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
    return not (isinstance(reference, Built) and reference.checks and CHECK not in reference.checks)


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
    exact = probe.dtype == probe.adapter == "float64" and "autocast" not in dict(probe.point)
    drops = dict(probe.options).get("dropout", 0.0) > NO_DROPOUT
    return closed if closed is not None and exact and not drops and closed.covers(probe.settings) else None


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
