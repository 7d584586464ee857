"""The baseline of the execution modes: a fresh subject with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conformance.measuring.compare import Comparison, close, same
from conformance.measuring.trial import RESIDUAL, Run, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from refs.subject import Subject

BASE = "W"
"""Name of the layer's weight among the numbers of a subject, where a method leaves it alone."""


@dataclass
class Through(Subject):
    """A subject that is called in another way than ``host(x)``."""

    call: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        assert self.call is not None
        return self.call(x)


def through(subject: Subject, call: Callable[[Tensor], Tensor]) -> Through:
    """The subject, called by ``call``."""
    return Through(subject.host, subject.base, subject.names, subject.bookkeeping, call)


def numbers(trial: Trial, *marks: str) -> list[dict[str, Tensor]]:
    """The perturbed values of every tensor, buffers too, and of the layer's weight; for each mark other ones."""
    subject = trial.subject()
    values = trial.state(subject)
    values.setdefault(BASE, values.pop(RESIDUAL, subject.base.weight.detach().double().clone()))
    return [
        {name: trial.moved(name + mark, value, 0.3 if mark else 0) for name, value in values.items()} for mark in marks
    ]


def put(subject: Subject, values: Mapping[str, Tensor]) -> Subject:
    """Copy the numbers into a subject, in place."""
    subject.load({name: value for name, value in values.items() if name != BASE})
    with torch.no_grad():
        subject.base.weight.copy_(values[BASE])
    return subject


def ready(trial: Trial, values: Mapping[str, Tensor], layer: nn.Linear | None = None) -> Subject:
    """A subject that was never called before it got these numbers."""
    with asking_the_subject():
        return put(trial.subject(layer), values)


def fresh(trial: Trial, values: Mapping[str, Tensor], layer: nn.Linear | None = None) -> Run:
    """What such a subject computes."""
    with asking_the_subject():
        return run_pass(ready(trial, values, layer), trial.x, trial.cotangent)


def called(trial: Trial, subject: Subject) -> Tensor:
    """One call without gradients: what may be kept from call to call is kept from then on."""
    with asking_the_subject(), torch.no_grad():
        return subject(trial.x)


def equal_passes(got: Run, want: Run, when: str) -> Iterator[Comparison]:
    """Output and gradients of two passes."""
    yield close(got.y, want.y, f"output {when}")
    yield close(got.grad_x, want.grad_x, f"gradient of x {when}")
    scale = max((float(g.abs().max()) for g in want.grads.values() if g is not None and g.numel()), default=0.0)
    for name, grad in want.grads.items():
        yield close(got.grads.get(name), grad, f"gradient of {name} {when}", scale=scale)
    yield same(sorted(got.grads), sorted(want.grads), f"tensors that train {when}")


def both(trial: Trial, subject: Subject, want: Run, when: str) -> Iterator[Comparison]:
    """Without gradients and with them, it computes ``want``."""
    yield close(called(trial, subject), want.y, f"output {when}, without gradients")
    yield from equal_passes(run_pass(subject, trial.x, trial.cotangent), want, when)
