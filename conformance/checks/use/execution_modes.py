"""Same results compiled, recomputed, under autocast, cast, copied, pickled, with its tensors replaced?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from conformance.checks.check import DROPOUT, SMALL, WIDE, with_options
from conformance.checks.use.calls import autocast, cast, compiled, recomputed
from conformance.checks.use.copies import deepcopied, functional, loaded, mapped, one_entry, pickled, written
from conformance.measuring.compare import Comparison, conclude, raised
from conformance.measuring.trial import SubjectFailed, Trial
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.probe import Probe
from refs.reference import Built, Reference

WAYS: dict[str, Callable[[Trial], Iterable[Comparison]]] = {
    "compile": partial(compiled, backend="aot_eager"),
    "trace": partial(compiled, backend="eager"),
    "recompute": recomputed,
    "autocast": autocast,
    "cast": cast,
    "deepcopy": deepcopied,
    "pickle": pickled,
    "functional_call": functional,
    "vmap": mapped,
    "load_state_dict": loaded,
    "writes": written,
    "one-entry": one_entry,
}
"""Each way to run, copy or change an adapted model, with what is compared of it. ``trace`` is ``compile`` without the
backward, for the options."""

LARGE = replace(SMALL, d_in=260, d_out=264, r=16)
"""Thousands of entries in every matrix: too many to look at all of them before each call, to see which have changed."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Every mode, and the option sets in some of them, once per entry with a lifecycle."""
    if entry.lifecycle is None or entry.method is None or reference is not entry.method.main:
        return ()  # an entry without a lifecycle is a formula alone
    layer = isinstance(reference, Built)  # a formula says nothing of how much rounding is allowed
    float32 = replace(WIDE, dtype="float32", adapter=None, batch=(64,))
    training = replace(SMALL, training=True, options=(("dropout", DROPOUT),) if entry.has_dropout else ())
    return (
        *(replace(SMALL, special=way) for way in WAYS if way not in ("trace", "autocast", "cast", "one-entry")),
        *(replace(float32, special=way) for way in ("autocast", "cast") if layer or way == "cast"),
        replace(training, special="recompute"),
        replace(training, special="trace"),
        replace(WIDE, dtype="bfloat16", adapter=None, batch=(64,), special="trace"),
        replace(LARGE, special="one-entry"),
        *(
            probe
            for way in ("trace", "functional_call", "load_state_dict")
            for probe in with_options(entry, replace(SMALL, special=way))
            if "calibration" not in dict(probe.options)  # these are about the start, and here every tensor has moved
        ),
    )


def run(trial: Trial) -> Finding:
    """Run the model in the mode and compare with the same adapter called plainly."""
    way = trial.probe.special
    try:
        finding = conclude(trial.case, WAYS[way](trial))
        answer = Answer(Use.WORKS if finding.outcome is Outcome.AGREE else Use.DIFFERS)
    except SubjectFailed as failure:
        finding = raised(trial.case, str(failure), expected="called plainly, the variant returns a value")
        answer = Answer(Use.RAISES, str(failure))
    return replace(finding, facts=answer)
