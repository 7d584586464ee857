"""What is asked of one entry beside one reference: the axes, the rules, and what is left out, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from conformance.nouns.entry import Entry
from conformance.nouns.probe import SHORT_DTYPES
from conformance.space.axes import AXES, DROPOUT, DTYPES, EXACT, KINDS, RANKED, RULES, STEER, Axis, Rule
from conformance.space.options import OPTIONS, Options
from refs.reference import ClosedForm, Live, Reference, Transcribed
from refs.settings import Settings


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
        "reloaded": life is not None and life.save is not None and life.load is not None,
        "merged": life is not None and life.merge is not None and life.unmerge is not None,
        "folded": life is not None and life.merge is not None and life.unmerge is not None,
    }
    gone: list[tuple[str, Any, str]] = [
        ("life", value, "the entry offers no function for it") for value, there in has.items() if not there
    ]
    gone += [
        ("layer", kind, "the entry does not list this layer type") for kind in KINDS[1:] if kind not in entry.layers
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
        why = "the closed form is computed in float64: it does not say how much rounding is allowed"
        gone += [("dtype", value, why) for value in DTYPES if value != EXACT]
        gone += [("autocast", True, why), ("dropout", 0.3, "the closed form has no dropout masks")]
        gone.append(("calls", "double", "the closed form has first derivatives only"))
        if reference.pullback is None:
            why = "this closed form has no gradients"
            gone += [("mode", value, why) for value in ("train", "eval")]
    if isinstance(reference, Transcribed):
        why = "autocast rounds a transcription's one weight once, a low-rank path at each product; see execution_modes"
        gone.append(("autocast", True, why))
    if isinstance(reference, Live):
        for name, (base, adapter) in DTYPES.items():
            word = f"-{SHORT_DTYPES[base]}" + (
                "" if adapter == base else f"+{SHORT_DTYPES.get(adapter or '', 'default')}"
            )
            gone += [("dtype", name, why) for at, _, why in reference.cannot if fnmatchcase(f"x{word}-x", at)]
    fixed = dict(reference.options)
    for axis in axes:
        for value in axis.values if axis.name not in FIELDS else ():
            settings = Settings(options=tuple(sorted({**fixed, axis.name: value}.items())))
            if not reference.covers(settings) and not isinstance(reference, ClosedForm):
                gone.append((axis.name, value, f"{reference.id} does not have this value"))
    return gone


FIELDS = {axis.name for axis in (*AXES, STEER)}


def _where_covered(reference: Reference, options: Options, ranked: bool) -> tuple[Rule, ...]:
    """A reference that covers combinations only: asked of rank and options at once."""
    names = (*(("r",) if ranked else ()), *(axis.name for axis in options.axes))

    def uncovered(*values: Any) -> bool:
        said = dict(zip(names, values))
        r = said.pop("r", 4)
        return not reference.covers(Settings(r=r, options=tuple(sorted(said.items(), key=lambda pair: pair[0]))))

    return (Rule(names, uncovered, f"{reference.id} does not have this combination"),) if len(names) > 2 else ()
