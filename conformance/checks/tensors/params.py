"""Does it have the reference's tensors: same names, shapes, dtypes, trainable or frozen, parameter or buffer?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import torch

from conformance.checks.check import SMALL, WIDE, stands_alone, with_options
from conformance.measuring.compare import ROUNDED_K, Comparison, close, conclude, far_within, same
from conformance.measuring.conditioning import moved_by_rounding
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.measuring.witness import own_start
from conformance.nouns.entry import Entry
from conformance.nouns.facts import ParamsFacts, TensorFacts, TensorPair
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Live, Reference
from refs.subject import Slot, Subject

ODD_RANK = "odd-rank"
ASPECTS = tuple(field.name for field in fields(TensorFacts))
DRAWN = 1e-3
"""Two residuals that differ by this share were left by a random decomposition, not by the rounding of one."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Dtypes, shapes, biases and option sets, at t=0 against each layer.

    Against a closed form that stands alone: names, shapes and what trains.
    """
    plain = replace(SMALL, state="t0", dtype="float32", adapter=None)
    if isinstance(reference, ClosedForm):
        if leaves_a_residual(entry, reference):
            wide = replace(WIDE, state="t0", dtype="float32", adapter=None)
            # A start from data is not told there: rounded inputs are other data.
            halves = [replace(plain, dtype=dtype) for dtype in ("bfloat16", "float16") if reference.draw is not None]
            exact = replace(plain, dtype="float64", adapter="float64")
            asked = (plain, wide, exact, replace(plain, bias=False), *halves, replace(plain, r=3, special=ODD_RANK))
            return tuple(p for p in (*asked, *with_options(entry, plain)) if reference.tells(p.settings))
        if not stands_alone(entry, reference):
            return ()
        wide = replace(WIDE, state="t0", dtype="float32", adapter=None)
        return (plain, wide, replace(plain, bias=False), *with_options(entry, plain))
    return (
        plain,
        replace(WIDE, state="t0", dtype="float32", adapter=None),
        replace(plain, bias=False),
        replace(plain, dtype="bfloat16"),
        replace(plain, dtype="float16"),
        replace(plain, adapter="bfloat16"),
        replace(plain, dtype="float64", adapter="float64"),
        *([replace(plain, r=3, special=ODD_RANK)] if entry.has_rank and isinstance(reference, Live) else []),
        *with_options(entry, plain),
    )


def run(trial: Trial) -> Finding:
    """Compare names, shapes, dtypes, flags and kinds of all tensors, and the base."""
    if isinstance(trial.reference, ClosedForm):
        alone = stands_alone(trial.entry, trial.reference)
        return (_beside_the_form if alone else _residual_of_the_form)(trial, trial.reference)
    got, want = trial.subject(), trial.reference_subject()
    with asking_the_subject():
        mine = got.slots()
    other = want.slots()
    comparisons = [same(sorted(mine), sorted(other), "names of the tensors")]
    for name, slot in other.items():
        if name in mine:
            comparisons += [
                same(getattr(_row(mine[name]), aspect), getattr(_row(slot), aspect), name, aspect) for aspect in ASPECTS
            ]
    comparisons += [
        *_base(trial, got, want),
        *_weights(trial, got, want),
        close(got.base.bias, want.base.bias, "base bias"),
        same(_trainable(mine), _trainable(other), "trainable numbers"),
    ]
    pairs = tuple(
        TensorPair(name, *(_row(side[name]) if name in side else None for side in (mine, other)))
        for name in sorted({*mine, *other})
    )
    facts = ParamsFacts(pairs, _trainable(mine), _trainable(other))
    return conclude(trial.case, comparisons, facts=facts)


def leaves_a_residual(entry: Entry, form: ClosedForm) -> bool:
    """Whether the closed form can say what is left in the layer, beside a layer that says so, too."""
    method = entry.method
    starts = form.draw is not None or form.start is not None
    return method is not None and bool(method.built) and method.replaces_weight and starts


def _residual_of_the_form(trial: Trial, form: ClosedForm) -> Finding:
    """A witness of the weight that is left in the layer alone: right to float32, or to the layer's dtype."""
    method, started = trial.entry.method, own_start(trial, form)
    assert method is not None
    assert started is not None
    beside, got = replace(trial, reference=method.main), trial.subject().base.weight
    want = started[RESIDUAL].to(got.dtype)
    comparison = close(got, want, "base weight", scale=_decomposed(beside, beside.reference_subject()))
    return conclude(trial.case, [comparison])


def _beside_the_form(trial: Trial, form: ClosedForm) -> Finding:
    """A formula has no dtypes and no modules: names, shapes and what trains, and the base left alone."""
    got, layer = trial.subject(), trial.layer()
    with asking_the_subject():
        mine = {name: _row(slot) for name, slot in got.slots().items()}
    assert form.draw is not None
    W = trial.layer("float64").weight.detach().numpy()
    want = form.draw(np.random.default_rng(trial.probe.seed), W, trial.probe.settings)
    comparisons = [same(sorted(mine), sorted(want), "names of the tensors")]
    pairs = []
    for name in sorted({*mine, *want}):
        row = mine.get(name)
        theirs = None
        if name in want:
            shape, trains = "x".join(map(str, want[name].shape)), "no" if name in form.frozen else "yes"
            theirs = replace(row, shape=shape, trainable=trains) if row else TensorFacts(shape, "any", trains, "any")
        if row is not None and theirs is not None:
            comparisons += [
                same(getattr(row, aspect), getattr(theirs, aspect), name, aspect) for aspect in ("shape", "trainable")
            ]
        pairs.append(TensorPair(name, row, theirs))
    if trial.entry.method is None or not trial.entry.method.replaces_weight:  # else ``reconstruction`` asks
        comparisons.append(close(got.base.weight, layer.weight, "base weight"))
    comparisons.append(close(got.base.bias, layer.bias, "base bias"))
    if trial.entry.promises.freezes:
        trains_too = sorted(name for name, p in got.base_parameters().items() if p.requires_grad)
        comparisons.append(same(trains_too, [], "base parameters that train"))
    trainable = sum(np.size(value) for name, value in want.items() if name not in form.frozen)
    comparisons.append(same(_trainable(got.slots()), trainable, "trainable numbers"))
    return conclude(trial.case, comparisons, facts=ParamsFacts(tuple(pairs), _trainable(got.slots()), trainable))


def _row(slot: Slot) -> TensorFacts:
    return TensorFacts(
        "x".join(map(str, slot.value.shape)),
        str(slot.value.dtype).removeprefix("torch."),
        "yes" if slot.trainable else "no",
        slot.kind,
    )


def _base(trial: Trial, got: Subject, want: Subject) -> Iterator[Comparison]:
    """Weight and bias alone: an adapter may register its own parameters on the layer itself."""
    for name in ("weight", "bias"):
        mine, other = getattr(got.base, name), getattr(want.base, name)
        if mine is None or other is None:
            yield same(mine is None, other is None, f"base {name} missing")
            continue
        if trial.entry.promises.freezes:
            yield same(mine.requires_grad, other.requires_grad, f"base {name}", "trainable")
        yield same(str(mine.dtype), str(other.dtype), f"base {name}", "dtype")


def _trainable(slots: dict[str, Slot]) -> int:
    return sum(slot.value.numel() for slot in slots.values() if slot.trainable)


def _weights(trial: Trial, got: Subject, want: Subject) -> Iterator[Comparison]:
    """The base weight; of what a random decomposition left only the shape (``reconstruction`` asks for the rest)."""
    method = trial.entry.method
    if method is not None and method.replaces_weight:
        again = trial.reference_subject(seed=1).base.weight
        drawn = (again - want.base.weight).abs().max().item() > DRAWN * want.base.weight.abs().max().item()
        if drawn:
            yield same(tuple(got.base.weight.shape), tuple(want.base.weight.shape), "base weight", "shape")
            return
    plain = close(got.base.weight, want.base.weight, "base weight")
    yield (
        plain
        if far_within(plain)
        else close(got.base.weight, want.base.weight, "base weight", scale=_decomposed(trial, want))
    )


def _decomposed(trial: Trial, reference: Subject) -> float | None:
    """A decomposition in float32 leaves a residual that is right to float32 only, whatever the layer's dtype is.

    In a float32 layer, right to some roundings of the weight that it is left of.
    """
    method, weight = trial.entry.method, reference.base.weight
    if method is None or not method.replaces_weight:
        return None
    size, eps = weight.detach().abs().max().item(), torch.finfo(torch.float32).eps
    if weight.dtype == torch.float32:
        moves = moved_by_rounding(trial, lambda subject: {"W_res": subject.base.weight.detach()})
        return size + moves["W_res"] / (ROUNDED_K * eps)
    return max(eps / torch.finfo(weight.dtype).eps, 1.0) * size
