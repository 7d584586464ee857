"""What a check is, and the probes that several of them start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from conformance.measuring.trial import Trial
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference

SMALL = Probe()
WIDE = Probe(d_in=32, d_out=16, r=8, alpha=16.0, batch=(2, 3), seed=2)
PLAIN = (
    SMALL,
    WIDE,
    replace(SMALL, bias=False),
    replace(SMALL, alpha=4.0),
    replace(SMALL, r=2),
    replace(SMALL, r=10, alpha=5.0),
    replace(SMALL, batch=(2, 3)),
    replace(SMALL, d_in=16, d_out=16),
)
"""Sizes, scales, biases and batches: the configurations in which any value is asked for at least."""
DROPOUT = 0.3
"""Not 0.5, where dropping with p and keeping with p are the same."""
NEXT_TO_NO_DROPOUT = 1e-15
"""Training with it takes the way of dropout and drops nothing, so that the formula there can be compared exactly."""


@dataclass(frozen=True)
class Check:
    """One question. ``probes`` says under which probes it is asked of an entry and a reference; ``run`` asks."""

    name: str
    question: str
    probes: Callable[[Entry, Reference], tuple[Probe, ...]]
    run: Callable[[Trial], Finding]


def with_dropout(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Training with dropout, where both sides have it."""
    if not entry.has_dropout:
        return ()
    training = replace(SMALL, training=True)
    exact = replace(training, options=(("dropout", NEXT_TO_NO_DROPOUT),))
    if isinstance(reference, ClosedForm):
        return (exact,)
    random = replace(training, options=(("dropout", DROPOUT),))
    much = replace(training, options=(("dropout", 2 * DROPOUT),))
    return (exact, replace(random, batch=(2, 7)), replace(random, bias=False), much)


def stands_alone(entry: Entry, reference: Reference) -> bool:
    """Whether a closed form that says how the tensors start is all that the method has: no layer tells of them."""
    alone = entry.method is not None and not entry.method.built
    return alone and isinstance(reference, ClosedForm) and reference.draw is not None


def named(probe: Probe, *, without: str = "") -> tuple[str, ...]:
    """The options of the probe as ``name=value``, for the card."""
    return tuple(f"{name}={value}" for name, value in probe.options if name != without)


def with_options(entry: Entry, probe: Probe) -> tuple[Probe, ...]:
    """The probe once for every option set of the entry."""
    return tuple(replace(probe, options=options) for options in entry.options)
