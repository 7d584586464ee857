"""Answers of two sides compared: exactly, or by their errors against float64."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from conformance.checks.space.calling import Answers, mark
from conformance.measuring.compare import Comparison, close, holds, no_less_exact, same
from conformance.measuring.trial import Trial

DEAD = 1e-10
"""A gradient is dead when it is below this share of the largest gradient (float64)."""
FAINT = 0.01
"""A gradient is compared to the digits of this share of the largest one at least: below that it is mostly cancelled."""


def named(got: Answers, want: Answers) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    """Each output and gradient of both."""
    for y, z in zip(got.outputs, want.outputs):
        yield "output", y, z
    for g, h in zip(got.of_inputs, want.of_inputs):
        yield "gradient of x", g, h
    for name, grad in want.grads.items():
        yield f"gradient of {name}", got.grads.get(name), grad


def equal(got: Answers, want: Answers) -> Iterator[Comparison]:
    """Up to the rounding of float64."""
    grads = [g[g.isfinite()] for g in (*want.of_inputs, *want.grads.values()) if g is not None]
    scale = max((g.abs().max().item() for g in grads if g.numel()), default=0.0)
    for what, one, other in named(got, want):
        own = other.abs().max().item() if other is not None and other.numel() and bool(other.isfinite().all()) else None
        floor = None if own is None or what == "output" else scale if own <= DEAD * scale else max(own, FAINT * scale)
        yield close(one, other, what, scale=floor)
        if one is not None and other is not None and not other.numel():
            yield same(tuple(one.shape), tuple(other.shape), what, "shape")
    if want.grads:
        yield same(sorted(got.grads), sorted(want.grads), "tensors that train")


def as_near(trial: Trial, got: Answers, want: Answers, truth: Answers, nudged: Answers) -> Iterator[Comparison]:
    """As near to the truth as ``want`` is: the reference in the same precision."""
    near = list(named(truth, nudged))
    mixed = trial.probe.adapter == "float32"
    for (what, one, other), (_, exact, moved) in zip(named(got, want), near):
        if one is None or other is None or exact is None:
            yield same(one is None, other is None, f"{what} missing")
        elif not exact.numel():
            yield same(tuple(one.shape), tuple(other.shape), what, "shape")
        elif mark(trial, "autocast"):
            yield from _under_autocast(trial, what, one, other, exact)
        elif one.dtype == other.dtype == torch.float64 and mixed:
            # Its numbers went through float32: that is what the last digits are measured in.
            yield no_less_exact(one.float(), other.float(), exact, what, nudged=moved)
        else:
            yield no_less_exact(one, other, exact, what, nudged=moved)


def _under_autocast(trial: Trial, what: str, one: Tensor, other: Tensor, exact: Tensor) -> Iterator[Comparison]:
    """In units of what autocast rounds to; an output has the reference's dtype, the bare layer's or the input's."""
    if what == "output":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            bare = trial.layer()(trial.x).dtype
        names = sorted({str(bare), str(other.dtype), str(trial.x.dtype)})
        yield holds(str(one.dtype) in names, what, str(one.dtype), " or ".join(names), aspect="dtype")
    yield no_less_exact(one.bfloat16(), other.bfloat16(), exact, what)
