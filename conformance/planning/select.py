"""Which entries, which cases: turn what the user typed into a plan, or say clearly why not."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from conformance.nouns.entry import Entry, Library
from conformance.planning.plan import Planned, make_plan


class BadRequest(ValueError):
    """What was asked for does not exist. The message says what does."""


OWN = "subjects.own.roster:LIBRARY"
"""Where this repository's variants are: audited unless another place is named. The harness imports them by this name
only, as it would import anybody's."""


def entries_at(place: str | None) -> tuple[Entry, ...]:
    """The entries at ``MODULE:ATTRIBUTE``, a ``Library`` or a tuple of entries; by default this repository's own."""
    place = OWN if place is None else place
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a module in the current folder can be named; last, so that it shadows nothing
    module, _, attribute = place.partition(":")
    want = "want MODULE:ATTRIBUTE, a Library or a tuple of Entry (both of conformance.nouns.entry)"
    try:
        entries = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadRequest(f"--entries: got {place!r} ({error}), {want}. Mend the name, or run where it is.") from error
    if isinstance(entries, Library):
        return entries.entries
    if not isinstance(entries, tuple) or not all(isinstance(entry, Entry) for entry in entries):
        raise BadRequest(f"--entries: got a {type(entries).__name__} at {place!r}, {want}. Wrap it in a tuple.")
    return entries


def choose(names: Sequence[str], entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The named entries in the roster's order; all of them if none is named."""
    known = [entry.name for entry in entries]
    for name in names:
        if name not in known:
            raise BadRequest(f"variant: got {name!r}, want one of {', '.join(known)}. See `conformance list`.")
    return tuple(entry for entry in entries if not names or entry.name in names)


def plan_for(names: Sequence[str], entries: Sequence[Entry], case: str | None = None) -> tuple[Planned, ...]:
    """The plan of the named variants, or the one case of it."""
    plan = make_plan(choose(names, entries))
    if case is None:
        return plan
    found = tuple(p for p in plan if p.case.id == case)
    if not found:
        near = get_close_matches(case, [p.case.id for p in plan], n=3, cutoff=0.3)
        raise BadRequest(
            f"--case: got {case!r}, want a planned case, such as {', '.join(near) or 'none'}. "
            "See `conformance list NAME`."
        )
    return found
