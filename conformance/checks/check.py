"""What a check is, and the probes that several of them start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from conformance.entry import Entry
from conformance.model import Finding, Probe
from conformance.trial import Trial
from refs.reference import Reference

SMALL = Probe()
WIDE = Probe(d_in=32, d_out=16, r=8, alpha=16.0, batch=(2, 3), seed=2)
DROPOUT = 0.3
"""Not 0.5, where dropping with p and keeping with p are the same."""


@dataclass(frozen=True)
class Check:
    """One question. ``probes`` says under which probes it is asked of an entry and a reference; ``run`` asks."""

    name: str
    question: str
    probes: Callable[[Entry, Reference], tuple[Probe, ...]]
    run: Callable[[Trial], Finding]


def with_options(entry: Entry, probe: Probe) -> tuple[Probe, ...]:
    """The probe once for every option set of the entry."""
    return tuple(replace(probe, options=options) for options in entry.options)
