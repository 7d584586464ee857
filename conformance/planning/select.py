"""Which entries, which cases: turn what the user typed into a plan, or say clearly why not.

torch is imported when entries are loaded, and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conformance.planning.loading import loaded, wrong_kind
from conformance.planning.names import FORM, BadRequest, did_you_mean, require_names, require_variants

if TYPE_CHECKING:
    from conformance.nouns.entry import Entry
    from conformance.nouns.probe import Probe
    from conformance.planning.plan import Planned
    from refs.reference import Reference

OWN = "subjects.own.roster:LIBRARY"
"""Where this repository's variants are: audited unless another place is named. The harness imports them by this name
only, as it would import anybody's."""
OWN_NAMES = "subjects.own.names:listed"
"""The same names with the places of their code, without an import of the variants."""
OWN_NEW = "subjects.own.new_variant:new_variant"
"""What writes the files of another one."""
OWN_WRITTEN = "subjects.own.snippet:written"
"""What writes a user's code that attaches one of these."""
LOCK = "references"
"""The check that compares a reference with the lock."""


def own_names() -> tuple[tuple[str, str], ...]:
    """``(name, file:line)`` of this repository's variants; cheap."""
    found: tuple[tuple[str, str], ...] = _at(OWN_NAMES)()
    return found


def own_new_variant(name: str, class_name: str | None) -> tuple[tuple[str, ...], str]:
    """Write the files of a new variant of this repository: their names, and what to do next."""
    written: tuple[tuple[str, ...], str] = _at(OWN_NEW)(name, class_name)
    return written


def own_written(subject: Any) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """A user's imports and lines that put an adapter of this repository on ``ours``; None for foreign subjects."""
    written: tuple[tuple[str, ...], tuple[str, ...]] | None = _at(OWN_WRITTEN)(subject)
    return written


def _at(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def entries_at(place: str | None) -> tuple[Entry, ...]:
    """The entries at ``MODULE:ATTRIBUTE``, a ``Library`` or a tuple of entries; by default this repository's own."""
    from conformance.nouns.entry import Entry, Library

    place = OWN if place is None else place
    entries = loaded(place)
    if isinstance(entries, Entry):
        entries = (entries,)
    if isinstance(entries, Library):
        entries = entries.entries
    if not isinstance(entries, tuple) or not all(isinstance(entry, Entry) for entry in entries):
        raise wrong_kind(place, entries)
    require_names([entry.name for entry in entries], place)
    return entries


def library_at(place: str | None) -> str:
    """The name of the library at ``MODULE:ATTRIBUTE``, after ``entries_at`` took it; of a bare tuple the package's."""
    from conformance.nouns.entry import Library

    place = OWN if place is None else place
    found = loaded(place)
    return found.name if isinstance(found, Library) else place.partition(":")[0].split(".")[0]


def choose(names: Sequence[str], entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The named entries in the roster's order; all of them if none is named."""
    require_variants(names, [entry.name for entry in entries])
    return tuple(entry for entry in entries if not names or entry.name in names)


def plan_for(names: Sequence[str], entries: Sequence[Entry], case: str | None = None) -> tuple[Planned, ...]:
    """The plan of the named variants; or one case of it, first, and after it what the judge needs to rule on it.

    That is the same check in the same configuration against the variant's other references (the closed form is a
    witness), and the references' state against the lock.
    """
    from conformance.planning.plan import make_plan

    plan = make_plan(choose(names, entries))
    if case is None:
        return plan
    if not any(p.case.id == case for p in plan):
        plan = (*plan, *_at_a_point(case, entries))
    asked = next((p for p in plan if p.case.id == case), None)
    if asked is None:
        raise _no_case(case, [p.case.id for p in plan])
    from refs.reference import ClosedForm

    own = [p for p in plan if p.case.variant == asked.case.variant and p is not asked]
    of_check = [p for p in own if p.case.check == asked.case.check]
    witnesses = [p for p in of_check if p.case.probe == asked.case.probe]
    if not any(isinstance(p.reference, ClosedForm) for p in (asked, *witnesses)) and any(
        isinstance(p.reference, ClosedForm) for p in of_check
    ):
        witnesses = of_check  # what a closed form says elsewhere in the check counts where none can be asked
    witnesses = [*witnesses, *(p for p in own if p.case.check == LOCK and p not in witnesses)]
    return (asked, *witnesses)


def _at_a_point(case: str, entries: Sequence[Entry]) -> tuple[Planned, ...]:
    """A case of the space that no plan has, as the fuzzer prints it; nothing for any other id."""
    from conformance.space.points import CHECK, asked, read

    variant, reference, check, *rest = (*case.split("/", 3), "", "", "")
    entry = next((each for each in entries if each.name == variant and each.method is not None), None)
    if entry is None or entry.method is None or check != CHECK:
        return ()
    beside = next((r for r in entry.method.references if r.id == reference and asked(r)), None)
    try:
        return () if beside is None else at_the_same_point(entry, beside, read(rest[0]))
    except (ValueError, TypeError, KeyError):
        return ()


def at_the_same_point(entry: Entry, reference: Reference, probe: Probe) -> tuple[Planned, ...]:
    """The case of the space at this probe; after it that of the closed form, if it can be asked there as a witness."""
    from conformance.checks.registry import CHECKS
    from conformance.nouns.finding import Case
    from conformance.planning.plan import Planned
    from conformance.space.points import CHECK, witness_at

    check = next(check for check in CHECKS if check.name == CHECK)
    closed = witness_at(entry, probe)
    both = [reference] if closed is None or closed is reference else [reference, closed]
    return tuple(Planned(Case(entry.name, each.id, CHECK, probe.id), entry, each, check, probe) for each in both)


def _no_case(case: str, known: Sequence[str]) -> BadRequest:
    variant = case.split("/")[0]
    own = [each for each in known if each.startswith(f"{variant}/")]
    # An example of what most cases are: numbers through the layer, beside a layer.
    usual = [each for each in own if "/forward/perturbed" in each]
    example = next((each for each in usual if "/closed:" not in each), [*usual, *own, *known, "none"][0])
    near = did_you_mean(case, known, cutoff=0.8) if case.count("/") >= 3 else ""
    return BadRequest(
        f"--case: no case {case!r} is planned. {near}An id is {FORM}, such as '{example}'. "
        f"`conformance list {variant}` prints them all, `conformance list --help` says how to read them."
    )
