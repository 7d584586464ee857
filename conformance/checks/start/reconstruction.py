"""Does the weight left in the layer plus what the fresh adapter adds equal the original weight?"""

from __future__ import annotations

from dataclasses import replace

import torch

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.measuring.compare import Comparison, conclude, same
from conformance.measuring.decades import decade
from conformance.measuring.rounding import HALF
from conformance.measuring.trial import RESIDUAL, Trial
from conformance.nouns.entry import Entry
from conformance.nouns.facts import RoundingFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference, Transcribed

SHARE = 1.7
"""Limit of |W_res + core - W| / |W| (Frobenius) in spacings of the layer's dtype: 2e-7 in float32."""
ONCE = 0.3
"""The same in half precision, as a share of |W_res| in place of |W|: what rounding it once costs at most."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Dtypes and option sets of a method that leaves a residual, against the closed form."""
    if isinstance(reference, Transcribed) and reference.residual:
        return (replace(WIDE, state="t0", dtype="float32", adapter=None), replace(SMALL, state="t0"))
    if not (isinstance(reference, ClosedForm) and entry.method is not None and entry.method.replaces_weight):
        return ()
    # Where a start is not the identity by design, steering by nothing is.
    still = {"coeff": 0.0} if "steering" in entry.invariants else {}
    fresh = replace(WIDE, state="t0", dtype="float32", adapter=None)
    return tuple(
        probe.under(**still)
        for probe in (
            fresh,
            replace(SMALL, state="t0", dtype="float32", adapter=None),
            replace(fresh, adapter="bfloat16"),
            replace(fresh, dtype="bfloat16"),
            replace(fresh, dtype="float16"),
            replace(fresh, dtype="bfloat16", adapter="bfloat16"),
            replace(fresh, dtype="float16", adapter="float16"),
            replace(fresh, dtype="float64", adapter="float64"),
            *with_options(entry, fresh),
        )
    )


def run(trial: Trial) -> Finding:
    """Add the residual and the fresh core in float64 and compare with the original weight."""
    form = trial.reference
    if isinstance(form, Transcribed):
        return _kept(trial, form)
    assert isinstance(form, ClosedForm)
    subject = trial.subject()
    values = trial.state(subject)
    kept = values.pop(RESIDUAL)
    left = kept.numpy()
    whole, _ = form.effective(
        {name: value.numpy() for name, value in values.items()}, left, 0 * left[:, 0], trial.probe.settings
    )
    W = trial.layer().weight.detach().double()
    error = ((torch.from_numpy(whole) - W).norm() / W.norm()).item()
    eps = torch.finfo(getattr(torch, trial.probe.dtype)).eps
    once = ONCE * (kept.norm() / W.norm()).item() + torch.finfo(torch.float32).eps
    limit = eps * (once if trial.probe.dtype in HALF else SHARE)
    rebuilt = Comparison(
        "W_res + core against W",
        W.numel(),
        error <= limit,
        error,
        limit,
        got=f"relative error {error:.2g}",
        want=f"at most {limit:.2g}",
        numeric=True,
    )
    return conclude(trial.case, [rebuilt])


def _kept(trial: Trial, reference: Transcribed) -> Finding:
    """In which dtype W_res is kept, and what that costs: the decade of its rounding, as a share of the weight."""
    left, W = trial.subject().base.weight.detach(), trial.layer().weight.detach().double()
    theirs = left.to(getattr(torch, reference.residual)).double()
    lost = ((theirs - left.double()).norm() / W.norm()).item()
    dtype = same(str(left.dtype).removeprefix("torch."), reference.residual, "dtype that W_res is kept in")
    return conclude(trial.case, [dtype], facts=RoundingFacts(decade(lost)))
