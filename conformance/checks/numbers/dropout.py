"""Whether two sides have the same distribution under dropout, if they draw other numbers or in another order.

With equal random numbers the outputs are equal and are compared as such; this is asked only when they are not. A row of
the input, repeated, draws a mask each time: the output and the gradient of x then have a joint mean and covariance over
the masks, and the gradients of the tensors a mean.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conformance.measuring.compare import Comparison, same
from conformance.measuring.trial import DROPOUT_SEED, Run, Trial, asking_the_subject, run
from refs.subject import Subject

BLOCKS = 32
ROWS = 512
"""Rows of two tokens per block: 16384 masks in all for each token."""
STANDARD_ERRORS = 7.0
"""Limit of a difference of two means. The seeds are fixed, so this is no chance from run to run."""
ROUNDING = 1e-12
"""Relative, for what does not depend on the mask at all."""
HALF = (torch.bfloat16, torch.float16)
"""Where a dropped input is rounded, or not, before it is used: a mean may differ by one spacing of the largest."""


def same_distribution(trial: Trial, subject: Subject, reference: Subject, *, gradients: bool) -> list[Comparison]:
    """Compare mean and covariance over masks of the output and, with ``gradients``, of what flows back as well."""
    wide = replace(trial, probe=replace(trial.probe, batch=(2,)))
    x, cotangent = (t.expand(ROWS, *t.shape).contiguous() for t in (wide.x, wide.cotangent))
    with asking_the_subject():
        got = [_pass(subject, x, cotangent, 2 * i, gradients) for i in range(BLOCKS)]
    want = [_pass(reference, x, cotangent, 2 * i + 1, gradients) for i in range(BLOCKS)]

    mine, other = (torch.cat([_per_row(r) for r in runs]) for runs in (got, want))
    what = "output and gradient of x" if gradients else "output"
    if mine.shape != other.shape:
        return [same(tuple(mine.shape), tuple(other.shape), what, "shape")]
    centre, share = other.mean(0), torch.finfo(x.dtype).eps if x.dtype in HALF else 0.0
    comparisons = [
        _means(what, "mean over masks", _moments(mine), _moments(other), share),
        _means(what, "covariance over masks", _products(mine - centre), _products(other - centre), share),
    ]
    for name in want[0].grads:
        one, two = (_stacked(runs, name) for runs in (got, want))
        if one is None or two is None or one.shape != two.shape:
            told = [str(None if t is None else tuple(t.shape[1:])) for t in (one, two)]
            comparisons.append(Comparison(f"gradient of {name}", 1, told[0] == told[1], got=told[0], want=told[1]))
        else:
            comparisons.append(_means(f"gradient of {name}", "mean over masks", _moments(one), _moments(two), share))
    return comparisons


def _pass(subject: Subject, x: Tensor, cotangent: Tensor, seed: int, gradients: bool) -> Run:
    return run(subject, x, cotangent, backward=gradients, seed=DROPOUT_SEED + seed)


def _per_row(run: Run) -> Tensor:
    parts = [run.y] if run.grad_x is None else [run.y, run.grad_x]
    return torch.cat([part.double().reshape(ROWS, -1) for part in parts], dim=1)


def _stacked(runs: list[Run], name: str) -> Tensor | None:
    grads = [r.grads.get(name) for r in runs]
    return (
        None if any(g is None for g in grads) else torch.stack([g.double() for g in grads if g is not None]).flatten(1)
    )


Moments = tuple[Tensor, Tensor]
"""A mean and the square of its standard error."""


def _moments(samples: Tensor) -> Moments:
    return samples.mean(0), samples.var(0) / len(samples)


def _products(centred: Tensor) -> Moments:
    """Of z_i z_j over the rows z, without forming all products of all rows."""
    n = len(centred)
    mean = centred.T @ centred / n
    square = centred.square()
    return mean, (square.T @ square / n - mean.square()).clamp(min=0) / n


def _means(what: str, aspect: str, got: Moments, want: Moments, share: float) -> Comparison:
    largest = want[0].abs().max()
    gap = ((got[0] - want[0]).abs() - share * largest).clamp(min=0)
    floor = ROUNDING * largest
    errors = gap / (got[1] + want[1] + floor.square() + torch.finfo(gap.dtype).tiny).sqrt()
    errors = errors.nan_to_num(nan=float("inf"))
    worst = int(errors.argmax())
    error = errors.reshape(-1)[worst].item()
    place = str([int(i) for i in np.unravel_index(worst, tuple(errors.shape))])
    mean, wanted = (t[0].reshape(-1)[worst].item() for t in (got, want))
    limit = STANDARD_ERRORS
    told = (f"{mean:.4g}", f"{wanted:.4g}")
    return Comparison(what, gap.numel(), error <= limit, error, limit, place, *told, numeric=True, aspect=aspect)
