"""Does a fresh adapter leave the layer's output as it is?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from conformance.checks.check import DROPOUT
from conformance.measuring.compare import EXACT_K, ROUNDED_K, Comparison, holds
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.measuring.witness import own_start
from conformance.nouns.promises import Float64
from refs.reference import ClosedForm
from refs.subject import Subject


def identity(trial: Trial, theirs: bool, what: str) -> tuple[bool, Comparison]:
    """Whether the fresh subject is the identity, and the statement that it is wherever the reference is."""
    with asking_the_subject():
        gap, limit = from_identity(trial)
    own = gap <= limit
    stated = holds(own or not theirs, what, f"identity: {own}", f"identity: {theirs}")
    return own, stated if stated.agrees else replace(stated, error=gap, limit=limit)


def identity_under_dropout(trial: Trial) -> list[Comparison]:
    """In training with dropout the layer may be the identity, whatever is dropped: one mask for what cancels."""
    p = trial.probe
    if not trial.entry.has_dropout or isinstance(trial.reference, ClosedForm) or p.dtype != "float32":
        return []
    drops = replace(trial, probe=replace(p, training=True).under(dropout=DROPOUT))
    if not trial.reference.covers(drops.probe.settings) or not is_identity(drops, of_reference=True):
        return []
    return [identity(drops, True, "identity at t=0 under dropout")[1]]


def is_identity(trial: Trial, *, of_reference: bool = False) -> bool:
    """Whether a fresh adapter leaves the base's output alone."""
    gap, limit = from_identity(trial, of_reference=of_reference)
    return gap <= limit


def from_identity(trial: Trial, *, of_reference: bool = False) -> tuple[float, float]:
    """How far a fresh adapter moves the base's output, and the limit, in float64 where the subject computes in it."""
    precision = "float64" if trial.entry.promises.float64 is Float64.EXACT else "float32"
    exact = replace(trial.probe, dtype=precision, adapter=precision)
    trial = Trial(trial.entry, trial.reference, exact, trial.check)
    adapted: Subject = trial.reference_subject() if of_reference else trial.subject()
    y = trial.layer()(trial.x)
    gap = (adapted(trial.x) - y).abs().max().item()
    rounding = EXACT_K * torch.finfo(torch.float64).eps if precision == "float64" else ROUNDED_K * 2**-23
    return gap, rounding * y.abs().max().item()


def is_identity_of(trial: Trial, form: ClosedForm) -> bool:
    """Whether the closed form's start leaves W alone, up to the float32 of its draws."""
    drawn = own_start(trial, form)
    assert drawn is not None
    W = trial.layer("float64").weight.detach().numpy()
    start = {name: value.float().double().numpy() for name, value in drawn.items()}
    weight, _ = form.effective(start, start.pop(RESIDUAL, W), 0 * W[:, 0], trial.probe.settings)
    return bool(np.abs(weight - W).max() <= ROUNDED_K * torch.finfo(torch.float32).eps * np.abs(W).max())
