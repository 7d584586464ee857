"""Does the merged layer have the closed form's weight and bias, and does unmerging restore the old bits?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from conformance.checks.check import DROPOUT, SMALL, WIDE, with_options
from conformance.measuring.compare import Comparison, close, conclude, holds, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Again
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

SPACINGS = 0.51
"""Rounding to the layer's dtype once moves a number by half a spacing at most; the rest is for float64 sums."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Dtypes and option sets, against the closed form."""
    can = entry.lifecycle is not None and entry.lifecycle.merge is not None
    if not can or not isinstance(reference, ClosedForm):
        return ()
    default = replace(WIDE, adapter=None)
    exactly = entry.promises.merges_exactly
    return (
        SMALL,
        replace(SMALL, bias=False),
        replace(SMALL, alpha=4.0, training=True, options=(("dropout", DROPOUT),) if entry.has_dropout else ()),
        *(
            replace(default, dtype=dtype)
            for dtype in ("float32", "bfloat16", "float16")
            if exactly or dtype == "float32"
        ),
        *([replace(default, dtype="bfloat16", adapter="bfloat16")] if exactly else []),
        *with_options(entry, SMALL),
    )


def run(trial: Trial) -> Finding:
    """Merge and compare weight and bias with the closed form; unmerge and compare the bits."""
    form, life = trial.reference, trial.entry.lifecycle
    assert isinstance(form, ClosedForm)
    assert life is not None
    assert life.merge is not None
    subject = trial.subject()
    values = rounded(trial.state(subject), subject)
    W, b = _truth(trial, form, values, subject.base)
    with asking_the_subject():
        subject.load({name: value for name, value in values.items() if name != RESIDUAL})
        subject.train(False)
        before, y = _tensors(subject.base), run_pass(subject, trial.x, trial.cotangent).y
        life.merge(subject)
        comparisons = list(_merged(trial, subject, W, b))
        comparisons += _again(trial, life.merge, subject)
        if life.unmerge is not None:
            life.unmerge(subject)
            after, again = _tensors(subject.base), run_pass(subject, trial.x, trial.cotangent).y
    if life.unmerge is not None:
        scale = 0.0 if trial.entry.promises.merges_exactly else None
        comparisons.append(same(sorted(after), sorted(before), "tensors after unmerging"))
        comparisons += [close(after[k], before[k], f"{k} after unmerging", scale=scale) for k in before if k in after]
        comparisons.append(close(again, y, "output after unmerging", scale=scale))
    return conclude(trial.case, comparisons)


def _truth(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor], base: nn.Linear) -> tuple[Tensor, Tensor]:
    left = values.get(RESIDUAL, base.weight.detach().double()).numpy()
    bias = 0 * left[:, 0] if base.bias is None else base.bias.detach().double().numpy()
    tensors = {name: value.numpy() for name, value in values.items() if name != RESIDUAL}
    W, b = form.effective(tensors, left, bias, trial.probe.settings)
    return torch.from_numpy(W), torch.from_numpy(b)


def _merged(trial: Trial, subject: Subject, W: Tensor, b: Tensor) -> Iterator[Comparison]:
    exactly = trial.entry.promises.merges_exactly
    for got, want, what in ((subject.base.weight, W, "merged weight"), (subject.base.bias, b, "merged bias")):
        if got is not None:
            yield _rounded_once(got.detach(), want, what) if exactly else close(got, want.to(got.dtype), what)
    y = run_pass(subject, trial.x, trial.cotangent, backward=False).y
    bare = nn.functional.linear(trial.x, subject.base.weight, subject.base.bias).detach()
    scale = 0.0 if exactly else None
    yield close(y, bare, "output of the merged layer against its weight and bias alone", scale=scale)


def _rounded_once(got: Tensor, want: Tensor, what: str) -> Comparison:
    """Every number within ``SPACINGS`` of a spacing of its dtype; in float64 as exact as everywhere."""
    if got.dtype == torch.float64:
        return close(got, want, what)
    eps = torch.finfo(got.dtype)
    gap = (got.double() - want).abs()
    limit = SPACINGS * torch.maximum(2.0 ** want.abs().log2().floor() * eps.eps, torch.tensor(eps.tiny * eps.eps))
    share = gap / limit.clamp(min=1e-9 * eps.eps * want.abs().max())
    worst = int(share.argmax())
    return Comparison(
        what,
        want.numel(),
        bool(share.max() <= 1),
        gap.reshape(-1)[worst].item(),
        limit.reshape(-1)[worst].item(),
        str(worst),
        f"{got.reshape(-1)[worst].item():.8g}",
        f"{want.reshape(-1)[worst].item():.8g}",
        numeric=True,
        exact_bound=True,
    )


def _again(trial: Trial, merge: Callable[[Subject], None], subject: Subject) -> Iterator[Comparison]:
    """A second merge, as far as the entry speaks of one."""
    promised = trial.entry.promises.merging
    if promised is Again.UNSTATED:
        return
    before, told = _tensors(subject.base), ""
    try:
        merge(subject)
    except Exception as error:
        told = str(error) or type(error).__name__
    kept = all(torch.equal(t, before[name]) for name, t in _tensors(subject.base).items())
    got = f"{'an error' if told else 'no error'} that {'changes nothing' if kept else 'changed the weights'}"
    if promised is Again.IGNORED:
        yield holds(kept and not told, "merging twice", got, "no error that changes nothing")
    elif not told:
        yield holds(False, "merging twice", "no error", "an error that changes nothing")
    else:
        yield holds(kept, "merging twice", got, "an error that changes nothing")


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
