"""Every case that must be measured. The judge folds over this, not over what evidence happened to arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from conformance.checks.check import Check
from conformance.checks.registry import CHECKS
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Float64, Promises, Stored
from refs.reference import Built, Recorded, Reference


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
        if not (isinstance(reference, Built | Recorded) and reference.checks and check.name not in reference.checks)
        if offered(entry.promises, reference)
        for probe in _asked_of(entry.promises, reference, check.probes(entry, reference))
    ]
    planned.sort(key=lambda p: p.case.id)
    for one, two in zip(planned, planned[1:]):
        if one.case == two.case:
            raise ValueError(f"two probes of one check have the id {one.case.id}; make their fields differ")
    return tuple(planned)


def offered(promises: Promises, reference: Reference) -> bool:
    """Whether the subject has every option that the reference sets."""
    return promises.has(reference.options)


def _asked_of(promises: Promises, reference: Reference, probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    """The probes with the reference's own options set, each once: those that it covers and the subject takes."""
    adapted = []
    for each in probes:
        probe = promised(promises, each)
        if probe is None:
            continue
        if not probe.label:
            options = tuple(sorted({**dict(reference.options), **dict(probe.options)}.items()))
            probe = replace(probe, options=options)
        if probe not in adapted and (probe.label or reference.covers(probe.settings)):
            adapted.append(probe)
    return tuple(adapted)


def promised(promises: Promises, probe: Probe) -> Probe | None:
    """The probe as the subject promises to take it: in dtypes that it has; None where it says that it does not.

    What it says is asked for itself, in the check ``promises``.
    """
    if promises.strict or probe.label:
        return probe
    dtype, adapter = probe.dtype, probe.adapter
    if promises.float64 is Float64.REFUSED:
        if dtype == "float64" and adapter == "float32":
            return None
        dtype, adapter = _single(dtype) or dtype, _single(adapter)
    if promises.stored is Stored.FLOAT32 and adapter is not None and adapter != "float32":
        if dtype != adapter:
            return None
        adapter = "float32"
    elif promises.stored is Stored.AS_LAYER and adapter is None:
        adapter = dtype
    if not promises.mixes_dtypes and adapter not in (None, dtype):
        return None
    alpha = probe.alpha if promises.scales else float(probe.r)
    return replace(probe, dtype=dtype, adapter=adapter, alpha=alpha, batch=_taken(promises, probe.batch))


def _single(dtype: str | None) -> str | None:
    return "float32" if dtype == "float64" else dtype


def _taken(promises: Promises, batch: tuple[int, ...]) -> tuple[int, ...]:
    """The same rows in a number of dimensions that the subject takes."""
    ranks = promises.input_ranks
    if not ranks or len(batch) + 1 in ranks:
        return batch
    n = min(ranks, key=lambda rank: abs(rank - 1 - len(batch))) - 1
    if n >= len(batch):
        return (1,) * (n - len(batch)) + batch
    return (*batch[: n - 1], prod(batch[n - 1 :])) if n else ()
