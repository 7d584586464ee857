"""An adapter merged into codes: the nearest ones to W', in the layer's own format; and out of them, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from conformance.checks.use.packed import bits, dequantised, packed, plain_kind
from conformance.checks.use.quantised_base import made, refused, without_it
from conformance.checks.use.quantised_values import has_truth, merged_truth, output
from conformance.measuring.compare import Comparison, close, holds, same
from conformance.measuring.trial import RESIDUAL, SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from refs.subject import Subject

LAW = "quantised_merge"
"""Among an entry's invariants: the promise to merge into codes. Others may refuse."""

MORE = 0.02
"""By how much of the error of bitsandbytes' own quantiser on W' the error of merged codes may be larger. Of the same
format, they are the same codes but where W' lies in the middle between two; other scales, or a part of the update,
cost more."""


def merged(trial: Trial, subject: Subject, values: Mapping[str, Tensor]) -> Iterator[Comparison]:
    """Weight, bias and output after merging; codes, scales and output after unmerging."""
    life = trial.entry.lifecycle
    if life is None or life.merge is None or not has_truth(trial):
        return
    if life.unmerge is None:  # what is asked afterwards is asked of an adapter at work
        subject = trial.subject(made(trial), values={k: v for k, v in values.items() if k != RESIDUAL})
    with asking_the_subject():
        y = run_pass(subject, trial.x, trial.cotangent, backward=False).y
    before, layer = bits(subject.base), without_it(subject.base)
    try:
        with asking_the_subject():
            life.merge(subject)
    except SubjectFailed as refusal:
        promised = LAW in trial.entry.invariants
        yield holds(not promised, "merging into codes", str(refusal), "merged codes, as promised")
        yield from refused(subject.base, layer, str(refusal))
        return
    yield from _in_codes(trial, subject, *merged_truth(trial, values))
    if life.unmerge is not None:
        with asking_the_subject():
            life.unmerge(subject)
            again = run_pass(subject, trial.x, trial.cotangent, backward=False).y
        for name, tensor in bits(subject.base).items():
            yield close(tensor.double(), before[name].double(), f"{name} after unmerging", scale=0.0)
        yield close(again, y, "output after unmerging", scale=0.0)


def _in_codes(trial: Trial, subject: Subject, W: Tensor, b: Tensor) -> Iterator[Comparison]:
    base = subject.base
    nearest = _quantised(trial, W)
    kinds = type(base.weight).__name__, type(nearest.weight).__name__
    yield same(*kinds, "class of the merged weight")
    if len(set(kinds)) > 1:
        return
    got, best = dequantised(base), dequantised(nearest)
    yield same(_dtype(base), _dtype(nearest), "merged weight", "dtype")
    size = W.norm().item()
    own, theirs = ((t - W).norm().item() / size for t in (got, best))
    yield Comparison(
        "merged weight",
        W.numel(),
        own <= (1 + MORE) * theirs,
        max(own - theirs, 0.0),
        MORE * theirs,
        got=f"relative error {own:.3g}",
        want=f"that of bitsandbytes' own quantiser, {theirs:.3g}, and {MORE:.0%} of it at most",
        numeric=True,
    )
    bias = torch.zeros(len(W), dtype=torch.float64)
    if base.bias is not None:
        yield close(base.bias.detach(), b.to(base.bias.dtype), "merged bias")
        bias = base.bias.detach().double()
    with asking_the_subject():
        y = run_pass(subject, trial.x, trial.cotangent, backward=False).y
    yield output(trial, y, trial.x.double() @ got.T + bias, "output of the merged layer")


def _quantised(trial: Trial, W: Tensor) -> nn.Linear:
    plain = trial.layer()
    with torch.no_grad():
        plain.weight.copy_(W)
    return packed(plain, plain_kind(trial.probe.special))


def _dtype(layer: nn.Linear) -> str:
    """Of the numbers that its codes are turned into."""
    state = getattr(layer.weight, "quant_state", None)
    return str(getattr(state, "dtype", "torch.float32"))
