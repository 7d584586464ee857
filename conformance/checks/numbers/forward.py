"""Does it compute the reference's function in float64, at t=0 and with changed tensors?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import DROPOUT, PLAIN, SMALL, WIDE, with_dropout, with_options
from conformance.checks.numbers.dropout import same_distribution
from conformance.measuring.compare import Comparison, close, conclude, raised, same
from conformance.measuring.conditioning import blamed
from conformance.measuring.explain import explained
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from conformance.measuring.witness import passes, start
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Built, ClosedForm, Reference, Transcribed


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Sizes, scales, batch shapes, option sets, dropout and corner cases, against every reference."""
    t0 = replace(SMALL, state="t0")
    # A transcription keeps its authors' divisions by zero.
    specials = () if isinstance(reference, Transcribed) else entry.specials
    return (
        t0,
        *PLAIN,
        replace(SMALL, special="large-input"),
        replace(SMALL, batch=(2, 1, 3)),
        replace(SMALL, batch=(1,)),
        replace(SMALL, batch=()),
        replace(SMALL, batch=(0, 3)),
        replace(SMALL, special="strided", batch=(4, 5)),
        replace(SMALL, training=True),
        replace(WIDE, seed=3, bias=False),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
        *with_options(entry, WIDE),
        *(replace(SMALL, special=special) for special in specials),
        *(replace(t0, special=special) for special in specials),
        *([replace(SMALL, options=(("dropout", DROPOUT),))] if entry.has_dropout else []),
        *with_dropout(entry, reference),
    )


def run(trial: Trial) -> Finding:
    """Compare outputs with equal tensors in float64."""
    if isinstance(trial.reference, ClosedForm):
        values = trial.state(start(trial))
        want = passes(trial, trial.reference, values, x=trial.x, cotangent=trial.cotangent).y
    else:
        values = trial.state(trial.reference_subject())
        want = run_pass(trial.reference_subject(values=values), trial.x, trial.cotangent, backward=False).y
    try:
        comparisons, got = _compared(trial, values, want)
        why = "" if all(c.agrees for c in comparisons) else explained(trial, got, want, values)
        finding = conclude(trial.case, comparisons, explained=why)
    except SubjectFailed as failure:
        finding = raised(trial.case, str(failure))
    return blamed(trial, values, finding)


def _compared(trial: Trial, values: Mapping[str, Tensor], want: Tensor) -> tuple[list[Comparison], Tensor]:
    x = trial.x.clone()
    subject = trial.subject()
    with asking_the_subject():
        # A call at its own start comes first: what is kept from it must not be used once the tensors have moved.
        run_pass(subject, x, trial.cotangent, backward=False)
        trial.load(subject, values)
        got = run_pass(subject, x, trial.cotangent, backward=False).y
        with torch.no_grad():
            again = run_pass(subject, x, trial.cotangent, backward=False).y
    comparisons = [close(got, want, "output"), close(again, want, "output of the next call, without gradients")]
    if trial.drops and isinstance(trial.reference, Built) and not all(c.agrees for c in comparisons):
        comparisons = same_distribution(trial, subject, trial.reference_subject(values=values), gradients=False)
    if not want.numel():
        comparisons.append(same(tuple(got.shape), tuple(want.shape), "output of an empty batch", "shape"))
    if not torch.equal(x, trial.x):  # else left out: it must not count as something compared
        comparisons.append(close(x, trial.x, "the caller's x after the calls", scale=0.0))
    return comparisons, got
