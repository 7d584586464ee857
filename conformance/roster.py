"""The variants of this repository as audit entries, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.attached import attached, life_of, ranks_of, stacked
from conformance.entry import Entry, Options
from conformance.refused import REFUSED
from refs.reference import Method
from refs.registry import METHODS
from variants.registry import by_name
from variants.runtime.adapter import Adapter


def entry_for(variant: type[Adapter], *, like: Entry | None = None) -> Entry:
    """An entry for an adapter class; with ``like``, one that stands in for another (a wrong or re-written variant)."""
    options = {} if like is None else {**like.__dict__}
    method = next((m for m in METHODS if m.name == variant.name), None)
    fixed = {
        "refused": REFUSED.get(variant.name, ()),
        "name": variant.name,
        "build": lambda layer, s: attached(variant, layer, s),
        "code": variant,
        "life": life_of(variant),
    }
    if "ranks" in options.get("laws", ()):
        fixed["ranks"] = lambda model, rows, s: ranks_of(variant, model, rows, s)
    if any(d.get("calibration") for d in map(dict, (*options.get("options", ()), *_always(method)))):
        fixed["build_stack"] = lambda layers, s, both: stacked(variant, layers, s, both)
    return Entry(**{"method": method, **options, **fixed})


def _always(method: Method | None) -> tuple[Options, ...]:
    """The options that every probe of the method sets."""
    return () if method is None else tuple(r.options for r in method.references)


def _row(name: str, **more: object) -> Entry:
    plain = Entry(**{**entry_for(by_name(name)).__dict__, **more})
    return entry_for(by_name(name), like=plain)


def _sets(*options: Mapping[str, object]) -> tuple[Options, ...]:
    return tuple(tuple(sorted(each.items())) for each in options)


_LORA = _sets({"rslora": True}, {"init": "gaussian"})
_STEERED = ({"coeff": -1.0}, {"coeff": -0.5, "suppress_only": True})
_SELECTED = (
    {"calibration": "mean"},
    {"calibration": "spikes"},
    {"calibration": "spikes", "act_pool": "mean_abs"},
    {"calibration": "faint"},
    {"calibration": "faint", "act_pool": "mean_abs"},
)
_MASKED = {"calibration": "masked"}

ENTRIES: tuple[Entry, ...] = (
    _row("lora", laws=("quantised",), has_dropout=True, options=_LORA),
    _row("pissa", has_dropout=True, options=_sets({"rslora": True}, {"niter": 4})),
    _row(
        "delora",
        has_dropout=True,
        options=_sets({"lam": 4.0}, {"frozen_copies": True}),
        specials=("zero-direction",),
    ),
    _row("ia3", laws=("quantised",), has_rank=False),
    _row("ia3_ff", laws=("quantised",), has_rank=False),
    _row("dora", has_dropout=True, options=_LORA, specials=("zero-row", "cancelling")),
    _row("hra", laws=("reflection",), options=_sets({"gram_schmidt": True})),
    _row(
        "eva",
        laws=("principal", "ranks", "quantised"),
        has_dropout=True,
        options=_sets({"calibration": "mean"}, {"whiten": True}, _MASKED),
    ),
    _row(
        "road",
        laws=("quantised",),
        has_rank=False,
        options=_sets({"kind": "road_2"}, {"kind": "road_4"}, {"group_size": 2}),
    ),
    _row("antipasto", laws=("steering",), options=_sets(*_STEERED, *_SELECTED, _MASKED)),
    _row(
        "antipasto_rot",
        laws=("steering", "rotation"),
        options=_sets(
            {"block_size": 4},
            {"rotate_basis": "U"},
            {"rotate_basis": "both"},
            {"rotate_basis": "none"},
            {"max_rotation_angle": 1.2},
            {"coeff": -1.0},
            {"calibration": "spikes"},
        ),
    ),
    _row(
        "antipasto_ablate",
        laws=("steering", "contraction"),
        options=_sets(
            {"k": 2},
            {"coeff": 0.5, "k": 2},
            {"init_alpha": 1.0, "k": 2},
            {"calibration": "rows", "cov_eps": 0.1, "cov_orient": True, "k": 2},
        ),
    ),
    _row("antipasto_corda", laws=("steering",), options=_sets(*_STEERED, {"cov_eps": 0.1}, _MASKED)),
    _row(
        "antipasto_arrow",
        laws=("steering",),
        options=_sets({"block": 3}, {"block": 2, "coeff": -0.5, "suppress_only": True}, *_SELECTED),
    ),
)
