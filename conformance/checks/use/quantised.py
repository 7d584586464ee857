"""On a 4-bit or 8-bit layer: does it compute the formula on the dequantised weight, or refuse clearly?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conformance.checks.check import SMALL
from conformance.checks.use.packed import AVX512, CALLED, KINDS, quietly, rewritten
from conformance.checks.use.quantised_base import made, other_bases, refused, used, without_it
from conformance.checks.use.quantised_merge import merged
from conformance.checks.use.quantised_values import loses_gradients, moved, on_its_own_codes, start, state
from conformance.measuring.compare import Comparison, conclude, raised
from conformance.measuring.trial import SubjectFailed, Trial
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference
from refs.subject import Subject

LAW = "quantised"
"""Among an entry's invariants: the promise to work here. Others may refuse; what they do not refuse must be right."""

ON_BLOCKS = replace(SMALL, d_in=64, d_out=128, r=8, alpha=16.0, batch=(64,), adapter=None)
"""Whole blocks of 64 weights, which share a scale. The adapter keeps the dtype that each side chooses."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Kinds of 4-bit and 8-bit weights, once per entry with a lifecycle."""
    if entry.lifecycle is None or entry.method is None or reference is not entry.method.main:
        return ()  # without a lifecycle nothing says how the subject is put on such a layer
    if entry.promises.as_reference and "quantised" not in entry.invariants:
        return ()  # a refusal that names the layer is a promise of its own
    changed = (replace(ON_BLOCKS, special=kind, dtype=d) for kind in KINDS for d in ("float32", "bfloat16"))
    # Where a start is not the identity by design, steering by nothing is.
    still = (("coeff", 0.0),) if "steering" in entry.invariants else ()
    at_start = replace(ON_BLOCKS, dtype="bfloat16", state="t0", options=still)
    fresh = (replace(at_start, special=kind) for kind in ("nf4", "int8"))
    # On a CPU with AVX512-BF16 bitsandbytes rewrites the layer when it is evaluated: by the calibration, between two
    # steps, or before the adapter came. A gradient then raises if there is a bias, and is silently missing if not.
    called = (
        replace(ON_BLOCKS, special=f"nf4{AVX512}", dtype="float32"),
        replace(ON_BLOCKS, special=f"nf4{AVX512}", dtype="float32", bias=False),
        replace(ON_BLOCKS, special=f"nf4{CALLED}", dtype="float32"),
        replace(ON_BLOCKS, special=f"nf4{CALLED}", dtype="bfloat16", bias=False, training=True),
        replace(ON_BLOCKS, special=f"fp4{CALLED}", dtype="float32", bias=False),
    )
    in_training = replace(ON_BLOCKS, special="int8", dtype="float32", bias=False, training=True)
    return (*changed, *fresh, in_training, *called)


def run(trial: Trial) -> Finding:
    """Compare with the formula on the dequantised weight, or check that the refusal is clear."""
    with quietly(), rewritten():
        layer = made(trial)
        before = without_it(layer)
        lost = trial.probe.special.endswith(CALLED) and loses_gradients(trial)
        bare = "the bare layer passes no right gradient on" if lost else ""
        try:
            subject = trial.subject(layer)
        except SubjectFailed as refusal:
            excused = trial.probe.special.endswith(CALLED) and _says_called(str(refusal))
            if LAW in trial.entry.invariants and not excused:
                return raised(trial.case, str(refusal))
            told = Answer(Use.REFUSES, str(refusal), bare=bare)
            return conclude(trial.case, refused(layer, before, str(refusal)), facts=told)
        compared_with = "its own quantised layer" if on_its_own_codes(trial) else "a plain layer"
        facts = Answer(Use.WORKS, compared_with=compared_with, bare=bare)
        found = [*_numbers(trial, subject), *used(trial, subject), *other_bases(trial)]
        return conclude(trial.case, found, facts=facts)


def _numbers(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """What it computes: fresh; or moved, and then merged."""
    if trial.probe.state == "t0":
        yield from start(trial, subject)
        return
    values = state(trial, subject)
    yield from moved(trial, subject, values)
    yield from merged(trial, subject, values)


def _says_called(refusal: str) -> bool:
    """Whether a refusal says that it is the earlier evaluation which stands in the way."""
    return any(word in refusal.lower() for word in ("evaluat", "called", "repack", "avx512"))
