"""Does it give the recorded numbers: determined initial values, outputs and gradients, in each dtype?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from conformance.checks.numbers.gradients import DEAD
from conformance.measuring.compare import Comparison, close, conclude, no_less_exact, raised, same
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.foreign.recorded import part, vectors_of
from refs.golden_vectors import GoldenError
from refs.reference import Recorded, Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """One per vector. What is wrong with the folder, the check ``references`` says."""
    if not isinstance(reference, Recorded):
        return ()
    try:
        return tuple(Probe.of(vector.config["probe"]) for vector in vectors_of(reference).values())
    except GoldenError:
        return ()


def run(trial: Trial) -> Finding:
    """Put the subject on the recorded layer, load the recorded tensors, and compare with what was recorded."""
    assert isinstance(trial.reference, Recorded)
    vector = vectors_of(trial.reference)[trial.probe.id]
    try:
        return conclude(trial.case, list(_compared(trial, vector.tensors, vector.config["trained"])))
    except SubjectFailed as failure:
        return raised(trial.case, str(failure))


def _compared(trial: Trial, recorded: Mapping[str, Tensor], trained: Sequence[str]) -> Iterator[Comparison]:
    subject = trial.subject(_layer(recorded), values=part(recorded, "t."))
    with asking_the_subject():
        got = run_pass(subject, recorded["x"], recorded["cotangent"])
    want, truth = part(recorded, "grad."), part(recorded, "truth.")
    largest = max((g.abs().max().item() for g in want.values() if g.numel()), default=0.0)
    yield _as_exact(got.y, recorded["y"], truth.get("y"), "output")
    for name, grad in want.items():
        own = got.grad_x if name == "x" else got.grads.get(name)
        dead = grad.numel() == 0 or grad.abs().max().item() <= DEAD * largest
        told = f"gradient of {name}"
        yield _as_exact(own, grad, truth.get(f"grad.{name}"), told, largest if dead else None)
    yield same(sorted(got.grads), sorted(trained), "tensors that train")
    start = part(recorded, "start.")
    fresh = trial.subject(_layer(recorded)).values() if start else {}
    for name, value in start.items():
        own = fresh.get(name)
        yield close(None if own is None else own.to(value.dtype), value, f"{name} at t=0")


def _layer(recorded: Mapping[str, Tensor]) -> nn.Linear:
    """The recorded base layer, anew."""
    W, b = recorded["W"], recorded.get("b")
    layer = nn.Linear(W.shape[1], W.shape[0], bias=b is not None, dtype=W.dtype)
    with torch.no_grad():
        layer.weight.copy_(W)
        if b is not None:
            layer.bias.copy_(b)
    return layer


def _as_exact(
    got: Tensor | None, want: Tensor, truth: Tensor | None, what: str, scale: float | None = None
) -> Comparison:
    """Equal in float64; in less, as near to the recorded float64 numbers as the recorded code was."""
    if got is None or truth is None:
        return close(got, want, what, scale=scale)
    return no_less_exact(got, want, truth, what)
