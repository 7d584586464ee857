"""The numbers of an adapter on a quantised layer, against float64 on the weight that the codes stand for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from conformance.checks.use.packed import AVX512, dequantised, offers
from conformance.checks.use.quantised_base import made
from conformance.measuring.compare import Comparison, close, no_less_exact, same
from conformance.measuring.trial import RESIDUAL, Run, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from refs.reference import ClosedForm, Live
from refs.subject import Subject

BARE = 0.1
"""Share of a gradient's size by which the bare layer's may be off. A rewritten layer gives none, or a wrong one."""


def on_its_own_codes(trial: Trial) -> bool:
    """Whether the reference has a layer of its own for codes, and is asked on it here.

    Not on a layer that bitsandbytes has rewritten: it gives no right gradient there, and would excuse any error. peft
    refuses to replace a weight of codes (PiSSA).
    """
    live = isinstance(trial.reference, Live) and offers(trial.reference.objects)
    return live and not _replaces(trial) and AVX512 not in trial.probe.special


def loses_gradients(trial: Trial) -> bool:
    """Whether the quantised layer by itself, without any adapter, raises or passes a wrong gradient to its input."""
    try:
        got, want = bare(trial).grad_x, _exact_bare(trial).grad_x
    except RuntimeError:
        return True
    if got is None or want is None:
        return True
    return bool((got.double() - want).norm() > BARE * want.norm())


def state(trial: Trial, subject: Subject) -> dict[str, Tensor]:
    """The values of the probe's state as the subject stores them, and by the formula what the method leaves of W."""
    fresh = {name: slot.value.double() for name, slot in subject.slots().items() if name in subject.names}
    values = {name: value for name, value in trial.state(subject).items() if name != RESIDUAL}
    left = {RESIDUAL: _left(trial, fresh)} if _replaces(trial) else {}
    return {**rounded(values, subject), **left}


def _left(trial: Trial, fresh: Mapping[str, Tensor]) -> Tensor:
    """W_res: what the codes stand for, less the part of the fresh tensors, which is what they add at a coeff of 0.

    Where codes are kept, no weight in the layer is W_res; it follows from the tensors alone.
    """
    W, form = dequantised(made(trial)), _form(trial)
    assert form is not None
    still = {"coeff": 0.0} if "steering" in trial.entry.invariants else {}
    nothing = 0 * W.numpy()
    tensors = {name: value.numpy() for name, value in fresh.items()}
    part, _ = form.effective(tensors, nothing, nothing[:, 0], trial.probe.under(**still).settings)
    return W - torch.from_numpy(part)


def _replaces(trial: Trial) -> bool:
    return trial.entry.method is not None and trial.entry.method.replaces_weight


def _plain(trial: Trial, dtype: str) -> nn.Linear:
    """An ordinary layer with the weight that the codes stand for."""
    plain = trial.layer(dtype).train(trial.probe.training)
    with torch.no_grad():
        plain.weight.copy_(dequantised(made(trial)))
    return plain


def moved(trial: Trial, subject: Subject, values: Mapping[str, Tensor]) -> Iterator[Comparison]:
    """Output and gradients against float64 on the dequantised weight, beside what the references lose."""
    subject.load({name: value for name, value in values.items() if name != RESIDUAL})
    with asking_the_subject():
        if AVX512 in trial.probe.special:  # an evaluation before the step
            subject.train(False)
            run_pass(subject, trial.x, trial.cotangent, backward=False)
            subject.train(trial.probe.training)
        got = run_pass(subject, trial.x, trial.cotangent)
    alone, exact = bare(trial, backward=False), _exact(trial, values)
    exact.y = _by_formula(trial, values, exact)
    others = _others(trial, values)
    yield same(str(got.y.dtype), str(alone.y.dtype), "output", "dtype")
    yield same(sorted(got.grads), sorted(exact.grads), "tensors that train")
    yield _near(got.y, [run.y for run in others] + [_lost(alone.y, _exact_bare(trial).y, exact.y)], exact.y, "output")
    pairs = {"x": (got.grad_x, [run.grad_x for run in others], exact.grad_x)}
    pairs |= {n: (got.grads.get(n), [run.grads.get(n) for run in others], truth) for n, truth in exact.grads.items()}
    for name, (own, theirs, truth) in pairs.items():
        known = [t for t in theirs if t is not None]
        if own is None or truth is None or not known:
            yield same(own is None, truth is None, f"gradient of {name} missing")
        else:
            yield _near(own, known, truth, f"gradient of {name}")


def _others(trial: Trial, values: Mapping[str, Tensor]) -> list[Run]:
    """The reference on a plain layer of the dequantised weight, and on the quantised one if it has something for it."""
    layers = [_plain(trial, trial.probe.dtype), *([made(trial)] if on_its_own_codes(trial) else [])]
    return [run_pass(trial.reference_subject(layer, values=values), trial.x, trial.cotangent) for layer in layers]


def _near(got: Tensor, others: list[Tensor], truth: Tensor, what: str) -> Comparison:
    """As near to the truth as the one among the others that loses most; in which dtype that answers is not asked."""
    worst = max(others, key=lambda t: float((t.double() - truth).square().mean()))
    return no_less_exact(got, worst.to(got.dtype), truth, what)


def bare(trial: Trial, *, backward: bool = True) -> Run:
    """The quantised layer without any adapter."""
    layer = made(trial)
    return run_pass(Subject(layer, layer), trial.x, trial.cotangent, backward=backward)


def _exact_bare(trial: Trial) -> Run:
    layer = _plain(trial, "float64")
    return run_pass(Subject(layer, layer), trial.x.double(), trial.cotangent.double())


def output(trial: Trial, got: Tensor, truth: Tensor, what: str) -> Comparison:
    """An output of the layer without an adapter, as near to the truth as such a layer is."""
    return _near(got, [_lost(bare(trial, backward=False).y, _exact_bare(trial).y, truth)], truth, what)


def _lost(bare: Tensor, exact: Tensor, truth: Tensor) -> Tensor:
    """The truth with the bare layer's own error, in proportion: in 8 bits it rounds its inputs too."""
    return truth + (bare.double() - exact) * (truth.square().mean() / exact.square().mean()).sqrt()


def _exact(trial: Trial, values: Mapping[str, Tensor]) -> Run:
    """The reference in float64 on the plain layer."""
    wide = replace(trial, probe=replace(trial.probe, adapter="float64"))
    reference = wide.reference_subject(_plain(trial, "float64"), values=values)
    return run_pass(reference, trial.x.double(), trial.cotangent.double())


def _by_formula(trial: Trial, values: Mapping[str, Tensor], exact: Run) -> Tensor:
    """The closed form's output in float64; the reference's, where there is no closed form."""
    if _form(trial) is None:
        return exact.y
    weight, bias = merged_truth(trial, values)
    return trial.x.double() @ weight.T + bias


def merged_truth(trial: Trial, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The closed form's W' and b' on the dequantised weight, in float64."""
    form, plain = _form(trial), _plain(trial, "float64")
    assert form is not None
    b = torch.zeros(len(plain.weight), dtype=torch.float64) if plain.bias is None else plain.bias.detach()
    W = values.get(RESIDUAL, plain.weight.detach())
    tensors = {name: v.numpy() for name, v in values.items() if name != RESIDUAL}
    weight, bias = form.effective(tensors, W.numpy(), b.numpy(), trial.probe.settings)
    return torch.from_numpy(weight), torch.from_numpy(bias)


def has_truth(trial: Trial) -> bool:
    """Whether a closed form says what W' and b' are."""
    return _form(trial) is not None


def _form(trial: Trial) -> ClosedForm | None:
    form = trial.entry.method.closed if trial.entry.method else None
    return form if form is not None and form.covers(trial.probe.settings) else None


def start(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """A fresh adapter leaves the quantised layer's output alone, and starts where the closed form starts."""
    plain = _plain(trial, "float64")
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    yield no_less_exact(got.y, bare(trial, backward=False).y, _exact_bare(trial).y, "identity at t=0")
    want = _determined(trial, plain)
    own = {name: slot.value for name, slot in subject.slots().items()}
    if _replaces(trial):
        own[RESIDUAL] = _left(trial, {name: own[name].double() for name in subject.names})
    method = trial.entry.method
    if method is not None and method.sign_free is not None:
        own, want = (method.sign_free(values, trial.probe.settings) for values in (own, want))
    for name, value in want.items():
        yield close(own[name].float(), value.float(), f"start of {name}")


def _determined(trial: Trial, plain: nn.Linear) -> dict[str, Tensor]:
    """The initial tensors that follow from the weight or the data: by the closed form, else the reference's own."""
    form = _form(trial)
    if form is not None and form.start is not None:
        start = form.start(plain.weight.detach().numpy(), trial.probe.settings)
        return {name: torch.from_numpy(value) for name, value in start.items()}
    wide = replace(trial, probe=replace(trial.probe, dtype="float64", adapter="float64"))
    built, other = (wide.reference_subject(copy.deepcopy(plain), seed=seed) for seed in (0, 1))
    one, two = built.values(), other.values()
    left = {RESIDUAL: built.base.weight.detach()} if _replaces(trial) else {}
    return {**{name: value for name, value in one.items() if torch.equal(value, two[name])}, **left}
