"""Does a rotation or reflection keep lengths, for any values of its tensors?"""

from __future__ import annotations

import torch

from conformance.checks.check import SMALL, with_options
from conformance.checks.numbers.effective import effective_weight
from conformance.measuring.compare import close, conclude
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Entries that rotate or reflect, against the closed form."""
    if not isinstance(reference, ClosedForm) or not {"reflection", "rotation"} & set(entry.invariants):
        return ()
    asked = (SMALL, *with_options(entry, SMALL))
    return tuple(probe for probe in asked if not _shortens(probe))


def run(trial: Trial) -> Finding:
    """Measure the matrix that acts, with the trained tensors moved, and compare with an orthogonal one."""
    if "rotation" in trial.entry.invariants:
        return _factors(trial)
    return _output_side(trial) if trial.probe.settings.option("side", "input") == "output" else _input_side(trial)


def _shortens(probe: Probe) -> bool:
    """With eps beside the length, as on HRA's output side, a reflection is none: that is the method."""
    return probe.settings.option("side", "input") == "output" and not probe.settings.option("gram_schmidt", False)


def _output_side(trial: Trial) -> Finding:
    """W' = R W: W'^T W' = W^T W."""
    subject = trial.subject(values=trial.state(trial.subject()))
    W = trial.layer().weight.detach()
    with asking_the_subject():
        turned = effective_weight(subject, trial.probe.d_in)
    return conclude(trial.case, [close(turned.T @ turned, W.T @ W, "W'^T W'")])


def _input_side(trial: Trial) -> Finding:
    """W' = W R with more outputs than inputs: R = pinv(W) W' is determined, and R^T R = I."""
    subject = trial.subject(values=trial.state(trial.subject()))
    W = trial.layer().weight.detach()
    with asking_the_subject():
        R = torch.linalg.pinv(W) @ effective_weight(subject, trial.probe.d_in)
    scale = torch.linalg.cond(W).item()
    identity = torch.eye(trial.probe.d_in, dtype=torch.float64)
    return conclude(trial.case, [close(R.T @ R, identity, "R^T R", scale=scale)])


def _factors(trial: Trial) -> Finding:
    """With S as it is, turning its bases leaves the singular values of the adapted part alone."""
    values = trial.state(trial.subject())
    if "delta" in values:
        values["delta"] = torch.zeros_like(values["delta"])
    subject = trial.subject(values=values)
    with asking_the_subject():
        part = effective_weight(subject, trial.probe.d_in) - subject.base.weight.detach().double()
    got = torch.linalg.svdvals(part)[: len(values["S"])]
    # U and Vh are stored as float32 computed them: orthonormal to that, and no further.
    scale = values["S"].max().item() * torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps / 256
    return conclude(trial.case, [close(got, values["S"].sort(descending=True).values, "singular values", scale=scale)])
