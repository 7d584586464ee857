"""Other ways to run an adapted model: compiled, recomputed, under autocast, after a cast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from conformance.checks.use.baseline import called, equal_passes, fresh, numbers, put, ready, through
from conformance.measuring.compare import Comparison, holds, no_less_exact, same
from conformance.measuring.trial import Run, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from refs.reference import Built
from refs.subject import Subject

DRAWS = 8
"""Configurations to pool: with few numbers in a tensor, the root mean square of one gradient is mostly chance."""

Triple = tuple[Run, Run, Run]
"""What the subject gives, what the reference gives in the same precision, and what the reference gives in float64."""


def compiled(trial: Trial, backend: str) -> Iterator[Comparison]:
    """One graph without a break, which still reads the tensors: they move after the first call.

    The backends run the graph as it was traced (``aot_eager``: traced again with its backward), so no C compiler is
    needed.
    """
    first, then = numbers(trial, "", "'")
    subject = trial.subject()
    torch._dynamo.reset()
    try:
        with asking_the_subject(), _guards_not_timed():
            graph = torch.compile(subject.host, fullgraph=True, backend=backend)
            runs = [run_pass(through(put(subject, v), graph), trial.x, trial.cotangent) for v in (first, then)]
    finally:
        torch._dynamo.reset()
    yield from equal_passes(runs[0], fresh(trial, first), "compiled")
    yield from equal_passes(runs[1], fresh(trial, then), "compiled, once the tensors moved")


@contextmanager
def _guards_not_timed() -> Iterator[None]:
    """Dynamo times the guards of each graph for its log, after it has flushed the processor's caches: 30 ms each."""
    guards: Any = import_module("torch._dynamo.guards")
    real = guards.profile_guard_manager
    guards.profile_guard_manager = lambda *given: 0.0
    try:
        yield
    finally:
        guards.profile_guard_manager = real


def recomputed(trial: Trial) -> Iterator[Comparison]:
    """Activation checkpointing of both kinds: the forward that runs again must be the forward that ran."""
    (values,) = numbers(trial, "")
    want = fresh(trial, values)
    for reentrant in (False, True):
        subject = ready(trial, values)

        def again(x: Tensor, subject: Subject = subject, reentrant: bool = reentrant) -> Tensor:
            y: Tensor = checkpoint(subject.host, x, use_reentrant=reentrant)
            return y

        with asking_the_subject():
            got = run_pass(through(subject, again), trial.x, trial.cotangent)
        yield from equal_passes(got, want, "recomputed, reentrant" if reentrant else "recomputed")


def autocast(trial: Trial) -> Iterator[Comparison]:
    """bfloat16 autocast around a float32 model, beside the reference under the same.

    The output's dtype is the reference's, or what the bare layer gives there.
    """
    got, other, exact = _pooled(_under_autocast(draw) for draw in _draws(trial))
    layer = trial.layer()
    bare = run_pass(_cast_on_the_way(Subject(layer, layer)), trial.x, trial.cotangent)
    dtypes = sorted({str(bare.y.dtype), str(other.y.dtype)})
    yield holds(
        str(got.y.dtype) in dtypes, "output under autocast", str(got.y.dtype), " or ".join(dtypes), aspect="dtype"
    )
    other.y = other.y.to(got.y.dtype)
    yield from _no_less_exact(got, other, exact, "under autocast")


def _under_autocast(trial: Trial) -> Triple:
    values = _as(trial, torch.float32, *numbers(trial, ""))
    subject = ready(trial, values)
    with asking_the_subject():
        got = run_pass(_cast_on_the_way(subject), trial.x, trial.cotangent)
    other = run_pass(_cast_on_the_way(put(trial.reference_subject(), values)), trial.x, trial.cotangent)
    return got, other, _exact(trial, values)


def _cast_on_the_way(subject: Subject) -> Subject:
    def call(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y: Tensor = subject.host(x)
            return y

    return through(subject, call)


def cast(trial: Trial) -> Iterator[Comparison]:
    """The model is cast after the adapter came: to float64, to bfloat16 and back, and to each half precision.

    How exact it must be in half precision, only a layer can tell.
    """
    values = _as(trial, torch.float32, *numbers(trial, ""))
    wide = _in(trial, "float64")
    subject = _worked(trial, values)
    with asking_the_subject():
        subject.host.to(torch.float64)
        got = run_pass(subject, wide.x, wide.cotangent)
    want = fresh(wide, values, trial.layer("float64"))
    yield from equal_passes(got, want, "after .to(float64)")

    short = _stored(trial, torch.bfloat16, values)
    subject = _worked(trial, values)
    with asking_the_subject():
        subject.host.to(torch.bfloat16)
        subject.host.to(torch.float32)
        got = run_pass(subject, trial.x, trial.cotangent)
    want = fresh(trial, short, _in(trial, "bfloat16").layer("float32"))
    yield from equal_passes(got, want, "after .to(bfloat16).to(float32)")

    for dtype in (torch.bfloat16, torch.float16) if isinstance(trial.reference, Built) else ():
        got, other, exact = _pooled(_for_good(draw, dtype) for draw in _draws(trial))
        yield from _no_less_exact(got, other, exact, f"after .to({str(dtype).removeprefix('torch.')})")


def _for_good(trial: Trial, dtype: torch.dtype) -> Triple:
    (values,) = numbers(trial, "")
    half, stored = _in(trial, str(dtype).removeprefix("torch.")), _as(trial, dtype, values)
    subject = _worked(trial, values)
    with asking_the_subject():
        subject.host.to(dtype)
        put(subject, stored)  # the same numbers as on the other side, not rounded twice
        got = run_pass(subject, half.x, half.cotangent)
    other = run_pass(put(half.reference_subject(), stored), half.x, half.cotangent)
    return got, other, _exact(half, stored)


def _worked(trial: Trial, values: Mapping[str, Tensor]) -> Subject:
    """A subject that was called before, so that it keeps what it may keep."""
    subject = ready(trial, values)
    called(trial, subject)
    return subject


def _in(trial: Trial, dtype: str) -> Trial:
    return replace(trial, probe=replace(trial.probe, dtype=dtype, adapter=dtype))


def _as(trial: Trial, dtype: torch.dtype, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers that either side can store in this dtype, in float64."""
    return _stored(trial, dtype, {name: value.to(dtype).double() for name, value in values.items()})


def _stored(trial: Trial, dtype: torch.dtype, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers as the subject would store them in this dtype, in float64."""
    with asking_the_subject():
        return trial.subject().kept(values, dtype)


def _exact(trial: Trial, values: Mapping[str, Tensor]) -> Run:
    """The reference in float64 on the same numbers."""
    exact = replace(trial, probe=replace(trial.probe, adapter="float64"))
    return run_pass(
        put(exact.reference_subject(trial.layer("float64")), values), trial.x.double(), trial.cotangent.double()
    )


def _draws(trial: Trial) -> Iterator[Trial]:
    """The trial in several configurations: another base layer, other inputs, other values."""
    return (replace(trial, probe=replace(trial.probe, seed=trial.probe.seed + k)) for k in range(DRAWS))


def _pooled(triples: Iterable[Triple]) -> Triple:
    got, other, exact = ([*runs] for runs in zip(*triples))
    return _stacked(got), _stacked(other), _stacked(exact)


def _stacked(runs: list[Run]) -> Run:
    """Several passes as one; a gradient that any of them lacks is missing."""
    grads = {name: _all([run.grads.get(name) for run in runs]) for name in runs[0].grads}
    return Run(torch.stack([run.y for run in runs]), _all([run.grad_x for run in runs]), grads)


def _all(tensors: list[Tensor | None]) -> Tensor | None:
    there = [t for t in tensors if t is not None]
    return torch.stack(there) if len(there) == len(tensors) else None


def _no_less_exact(got: Run, other: Run, exact: Run, when: str) -> Iterator[Comparison]:
    """Output and gradients: about as near to the truth as the reference's, and in the same dtype."""
    yield no_less_exact(got.y, other.y, exact.y, f"output {when}")
    pairs = {"x": (got.grad_x, other.grad_x, exact.grad_x)}
    pairs |= {name: (got.grads.get(name), grad, exact.grads[name]) for name, grad in other.grads.items()}
    for name, (own, theirs, truth) in pairs.items():
        if own is None or theirs is None or truth is None:
            yield same(own is None, theirs is None, f"gradient of {name} missing {when}")
        else:
            yield no_less_exact(own, theirs, truth, f"gradient of {name} {when}")
