"""Every case that must be measured. The judge folds over this, not over what evidence happened to arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from conformance.checks.check import Check
from conformance.checks.registry import CHECKS
from conformance.entry import Entry
from conformance.model import Case, Probe
from refs.reference import ClosedForm, Live


@dataclass(frozen=True)
class Planned:
    """A case with what it takes to run it."""

    case: Case
    entry: Entry
    reference: Live | ClosedForm
    check: Check
    probe: Probe


def make_plan(entries: Iterable[Entry], checks: tuple[Check, ...] = CHECKS) -> tuple[Planned, ...]:
    """Every (variant x reference x check x probe), sorted by case id. ValueError if two cases share an id."""
    planned = [
        Planned(Case(entry.name, reference.id, check.name, probe.id), entry, reference, check, probe)
        for entry in entries
        if entry.method is not None
        for reference in (entry.method.live, entry.method.closed)
        for check in checks
        for probe in check.probes(entry, reference)
    ]
    planned.sort(key=lambda p: p.case.id)
    for one, two in zip(planned, planned[1:]):
        if one.case == two.case:
            raise ValueError(f"two probes of one check have the id {one.case.id}; make their fields differ")
    return tuple(planned)
