"""Is the term that the authors add to the loss the same scalar, with the same gradient?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, WIDE
from conformance.measuring.compare import close, conclude, same
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference, Transcribed
from refs.subject import Subject

METHOD = "orthogonality_penalty"


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Shapes and ranks, against the authors' penalty."""
    if not isinstance(reference, Transcribed) or reference.penalty is None:
        return ()
    return (SMALL, WIDE, replace(SMALL, r=2), replace(SMALL, seed=3, bias=False))


def run(trial: Trial) -> Finding:
    """Value and gradient of the penalty, on equal tensors."""
    assert isinstance(trial.reference, Transcribed)
    assert trial.reference.penalty is not None
    values = trial.state(trial.reference_subject())
    subject = trial.subject(values=values)
    penalty = _penalty_of(subject)
    if penalty is None:
        return conclude(trial.case, [same("none", METHOD, "what is added to the loss")])
    ((name, leaf),) = subject.leaves().items()
    want, slope = _with_gradient(trial.reference.penalty, values[name])
    with asking_the_subject():
        got = penalty()
        leaf.grad = None
        got.backward()  # type: ignore[no-untyped-call]
        gradient = subject.slots()[name].grad
    return conclude(
        trial.case,
        [close(got.reshape(1), want.reshape(1), "penalty"), close(gradient, slope, f"gradient of {name}")],
    )


def _penalty_of(subject: Subject) -> Callable[[], Tensor] | None:
    found = (getattr(module, METHOD, None) for module in subject.host.modules())
    return next((method for method in found if method is not None), None)


def _with_gradient(penalty: Callable[[Tensor], Tensor], value: Tensor) -> tuple[Tensor, Tensor]:
    leaf = value.clone().requires_grad_()
    got = penalty(leaf)
    return got.detach(), torch.autograd.grad(got, leaf)[0]
