"""An adapter class of this repository as an entry: how it is built, used and refused."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.nouns.entry import Entry
from refs.reference import Method, Options
from refs.registry import METHODS
from subjects.own.attached import attached, lifecycle_of, put_on, ranks_of, stacked, starts_of
from variants.registry import by_name
from variants.runtime.adapter import Adapter

ON_CODES = ("quantised", "quantised_merge")
"""The promises to work on layers of bitsandbytes, and to merge into them. Every variant makes them."""

INSIDE = "float32 inside"
"""The promise to compute in float32 at least, where layer and tensors are both in half precision."""


def entry_for(variant: type[Adapter], *, like: Entry | None = None) -> Entry:
    """An entry for an adapter class.

    ``like``: the entry that it stands in for (a seeded fault, an equivalent rewrite). Its option sets, refusals and
    deviations are taken over; what builds and uses the adapter is the class's own.
    """
    options = {} if like is None else {**like.__dict__}
    method = next((m for m in METHODS if m.name == variant.name), None)
    fixed = {
        "name": variant.name,
        "build": lambda layer, s: attached(variant, layer, s),
        "code": variant,
        "lifecycle": lifecycle_of(variant),
        "put": lambda model, targets, s, data: put_on(variant, model, targets, s, data),
        "layers": ("conv1d",),
    }
    if "ranks" in options.get("invariants", ()):
        fixed["ranks"] = lambda model, rows, s: ranks_of(variant, model, rows, s)
        fixed["starts"] = lambda model, rows, s, layers: starts_of(variant, model, rows, s, layers)
    if any(d.get("calibration") for d in map(dict, (*options.get("options", ()), *_always(method)))):
        fixed["build_stack"] = lambda layers, s, both: stacked(variant, layers, s, both)
    return Entry(**{"method": method, **options, **fixed})


def _always(method: Method | None) -> tuple[Options, ...]:
    """The options that every probe of the method sets."""
    return () if method is None else tuple(r.options for r in method.references)


def row(name: str, **more: object) -> Entry:
    """The entry of a registered variant. ``more``: the fields of ``Entry`` that say what is asked of it."""
    plain = Entry(**{**entry_for(by_name(name)).__dict__, **more})
    return entry_for(by_name(name), like=plain)


def sets(*options: Mapping[str, object]) -> tuple[Options, ...]:
    """Option sets, each as sorted pairs."""
    return tuple(tuple(sorted(each.items())) for each in options)
