"""Every cost of every contender, as plain data: counts first, then times."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from conformance.cost import points
from conformance.cost.counts import Counts, count
from conformance.cost.points import Point
from conformance.cost.spectra import Directions, directions
from conformance.cost.starts import Start, starts
from conformance.cost.subjects import Contender, bare, input_at, merged, on, peft, variant
from conformance.cost.timing import Passes, Spread, above, interleaved, ratio
from conformance.cost.whole.shapes import WAYS, Shape
from conformance.cost.whole.step import Stepped, stepped
from conformance.planning.revisions import git
from refs.subject import Subject

Say = Callable[[str], None]
ROOT = Path(__file__).parents[2]
MEASURED = ("conformance/cost", "variants", "subjects", "refs")
"""The code that costs depend on."""


@dataclass(frozen=True)
class Counted:
    """The counts of both sides and of the bare layer at one point."""

    name: str
    point: Point
    bare: Counts
    ours: Counts
    peft: Counts | None


@dataclass(frozen=True)
class Timed:
    """Times at one point, round by round beside the bare layer's: ratios, or microseconds above it.

    ``to_peft``: ours beside peft's, forward and backward together. ``bare``: seconds of the bare layer, likewise. In
    inference mode there is no backward, and ``both`` is the forward; ``merged`` is the variant as part of the weight.
    """

    name: str
    point: Point
    device: str
    bare: Spread
    ours: Sides
    peft: Sides | None
    to_peft: Spread | None
    merged: Sides | None = None


@dataclass(frozen=True)
class Sides:
    """One side's forward and backward pass, and the two together."""

    forward: Spread
    backward: Spread | None
    both: Spread


@dataclass(frozen=True)
class Started:
    """The initialisation of both sides."""

    name: str
    point: Point
    ours: Start
    peft: Start | None


@dataclass(frozen=True)
class Machine:
    """What the times depend on. ``commit``: of the code that was measured; empty outside of a git checkout."""

    cpus: int
    threads: int
    processor: str
    devices: tuple[str, ...]
    torch: str
    peft: str
    commit: str = ""


@dataclass(frozen=True)
class Models:
    """Steps of training on whole models."""

    machine: Machine
    rows: tuple[Stepped, ...]


@dataclass(frozen=True)
class Costs:
    """All that was measured. ``growth``: counts along an axis; a part that was not asked for is empty. ``machine``: of
    the layers' times. ``decoded_on``: that of decoding, where it was measured anew alone.
    """

    counted: tuple[Counted, ...]
    growth: dict[str, tuple[Counted, ...]]
    rotation: tuple[Counted, ...]
    machine: Machine
    timed: tuple[Timed, ...]
    rotation_timed: tuple[Timed, ...]
    decoded: tuple[Timed, ...]
    overhead: tuple[Timed, ...]
    started: tuple[Started, ...]
    spectra: tuple[Directions, ...]
    models: Models | None = None
    decoded_on: Machine | None = None

    @classmethod
    def none(cls) -> Costs:
        """Nothing but the machine."""
        empty = dict.fromkeys(("counted", "rotation", "timed", "rotation_timed", "decoded", "overhead", "started"), ())
        return cls(**empty, growth={}, spectra=(), machine=machine())  # type: ignore[arg-type]


def measure(chosen: Sequence[Contender], rotated: Sequence[Contender], *, quick: bool, say: Say) -> Costs:
    """Everything, or with ``quick`` the counts and two points of time. ``say`` is told what is being measured."""
    at_point = _counted(chosen, (points.COUNTED,), say, {})
    known = {(row.name, row.point): row for row in at_point}
    growth = {axis: _counted(chosen, along, say, known) for axis, along in points.GROWTH.items()}
    every = points.QUICK if quick else (*points.TIMED, points.HALF, *points.RANKS)
    return Costs(
        counted=at_point,
        growth=growth,
        rotation=_counted(rotated, (points.COUNTED,), say, known),
        machine=machine(),
        timed=_timed(chosen, every, say),
        rotation_timed=_timed(rotated, points.QUICK, say),
        decoded=() if quick else measure_decoding(chosen, say),
        overhead=() if quick else _timed(chosen, (points.TINY,), say, of=above),
        started=() if quick else tuple(_started(chosen, say)),
        spectra=() if quick else tuple(_spectra(chosen, say)),
    )


def measure_decoding(chosen: Sequence[Contender], say: Say) -> tuple[Timed, ...]:
    """One token in inference mode."""
    return _timed(chosen, (points.DECODED,), say, decode=True)


def measure_models(chosen: Sequence[Contender], shapes: Sequence[Shape], say: Say) -> Models:
    """Steps of training on the CPU; where there is a GPU, on it as well, in bfloat16 and compiled too."""
    ways = [way for device in devices() for way in WAYS[device]]
    rows = [stepped(contender, shape, way, say) for shape in shapes for way in ways for contender in chosen]
    return Models(machine(), tuple(row for row in rows if row is not None))


def machine() -> Machine:
    """The one that measures."""
    return Machine(
        cpus=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        processor=platform.machine(),
        devices=devices(),
        torch=version("torch"),
        peft=version("peft"),
        commit=_commit(),
    )


def _commit() -> str:
    """Of the code; with a mark where files of it differ from the commit."""
    commit = (git(ROOT, "rev-parse", "--short=8", "HEAD") or "").strip()
    return commit + ("+" if commit and git(ROOT, "status", "--porcelain", "--", *MEASURED) else "")


def devices() -> tuple[str, ...]:
    """Where to take times."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def counted(contender: Contender, point: Point) -> Counted:
    """The counts of one contender at a point."""
    theirs = peft(contender, point)
    return Counted(
        contender.name,
        point,
        bare=_bare_counts(point),
        ours=count(variant(contender, point), point),
        peft=None if theirs is None else count(theirs, point),
    )


@cache
def _bare_counts(point: Point) -> Counts:
    return count(bare(point), point)


def timed(
    contender: Contender, point: Point, device: str = "cpu", *, decode: bool = False, of: _Beside = ratio
) -> Timed:
    """The times of one contender at a point: bare layer, variant and peft in one loop."""
    sides: dict[str, Subject | None] = {
        "bare": bare(point),
        "ours": variant(contender, point),
        "peft": peft(contender, point),
        "merged": merged(contender, point) if decode else None,
    }
    x = input_at(point).detach().to(device).requires_grad_(not decode)
    taken = interleaved({name: on(side, device) for name, side in sides.items() if side is not None}, x, decode=decode)
    base, ours, theirs, folded = taken["bare"], taken["ours"], taken.get("peft"), taken.get("merged")
    return Timed(
        contender.name,
        point,
        device,
        bare=Spread.of(base.both),
        ours=_beside(ours, base, decode, of),
        peft=None if theirs is None else _beside(theirs, base, decode, of),
        to_peft=None if theirs is None else of(ours.both, theirs.both),
        merged=None if folded is None else _beside(folded, base, decode, of),
    )


_Beside = Callable[[Sequence[float], Sequence[float]], Spread]


def _beside(side: Passes, base: Passes, decode: bool, of: _Beside) -> Sides:
    backward = None if decode else of(side.backward, base.backward)
    return Sides(of(side.forward, base.forward), backward, of(side.both, base.both))


def _counted(
    chosen: Iterable[Contender], along: Sequence[Point], say: Say, known: Mapping[tuple[str, Point], Counted]
) -> tuple[Counted, ...]:
    rows = []
    for contender in chosen:
        for point in along:
            row = known.get((contender.name, point))
            if row is None:
                say(f"counting {contender.name} at {point.id}")
                row = counted(contender, point)
            rows.append(row)
    return tuple(rows)


def _timed(
    chosen: Sequence[Contender], along: Sequence[Point], say: Say, *, decode: bool = False, of: _Beside = ratio
) -> tuple[Timed, ...]:
    rows = []
    for point in along:
        for contender in chosen:
            if point.d >= points.WIDE and contender.name in points.SAME_FORWARD:
                continue
            for device in devices():
                say(f"timing {contender.name} at {point.id} on {device}")
                rows.append(timed(contender, point, device, decode=decode, of=of))
    return tuple(rows)


def _started(chosen: Sequence[Contender], say: Say) -> Iterable[Started]:
    for point in points.STARTED:
        for contender in chosen:
            say(f"starting {contender.name} at {point.id}")
            sides = starts(contender, point)
            yield Started(contender.name, point, sides["ours"], sides.get("peft"))


def _spectra(chosen: Sequence[Contender], say: Say) -> Iterable[Directions]:
    for point in points.SPECTRA:
        say(f"decomposing at {point.id}")
        yield from directions(chosen, point)
