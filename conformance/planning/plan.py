"""Every case that must be measured. The judge folds over this, not over what evidence happened to arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from conformance.checks.check import Check
from conformance.checks.registry import CHECKS
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case
from conformance.nouns.probe import Probe
from refs.reference import Built, Reference


@dataclass(frozen=True)
class Planned:
    """A case with what it takes to run it."""

    case: Case
    entry: Entry
    reference: Reference
    check: Check
    probe: Probe


def make_plan(entries: Iterable[Entry], checks: tuple[Check, ...] = CHECKS) -> tuple[Planned, ...]:
    """Every (variant x reference x check x probe), sorted by case id. ValueError if two cases share an id."""
    planned = [
        Planned(Case(entry.name, reference.id, check.name, probe.id), entry, reference, check, probe)
        for entry in entries
        if entry.method is not None
        for reference in entry.method.references
        for check in checks
        if not (isinstance(reference, Built) and reference.checks and check.name not in reference.checks)
        for probe in _asked_of(reference, check.probes(entry, reference))
    ]
    planned.sort(key=lambda p: p.case.id)
    for one, two in zip(planned, planned[1:]):
        if one.case == two.case:
            raise ValueError(f"two probes of one check have the id {one.case.id}; make their fields differ")
    return tuple(planned)


def _asked_of(reference: Reference, probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    """The probes with the reference's own options set, each once, and only those that it covers."""
    adapted = []
    for probe in probes:
        if not probe.label:
            options = tuple(sorted({**dict(reference.options), **dict(probe.options)}.items()))
            probe = replace(probe, options=options)
        if probe not in adapted and (probe.label or reference.covers(probe.settings)):
            adapted.append(probe)
    return tuple(adapted)
