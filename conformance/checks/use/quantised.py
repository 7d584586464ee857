"""On a layer in 4 or 8 bits: does it compute the formula on the weight that the codes stand for, or refuse clearly?"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL
from conformance.checks.use.packed import KINDS, bits, dequantised, offers, packed, quietly
from conformance.measuring.compare import Comparison, close, conclude, holds, no_less_exact, raised, same
from conformance.measuring.trial import Run, SubjectFailed, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Live, Reference
from refs.subject import Subject

LAW = "quantised"
"""Among an entry's invariants: the promise to work here. Other entries may refuse; what they accept must be right."""

ON_BLOCKS = replace(SMALL, d_in=64, d_out=128, r=8, alpha=16.0, batch=(64,), adapter=None)
"""Whole blocks of 64 weights, which share a scale. The adapter keeps the dtype that each side chooses."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    if entry.lifecycle is None or entry.method is None or reference is not entry.method.main:
        return ()  # an entry without a lifecycle is a formula alone
    moved = (replace(ON_BLOCKS, special=kind, dtype=d) for kind in KINDS for d in ("float32", "bfloat16"))
    fresh = (replace(ON_BLOCKS, special=kind, dtype="bfloat16", state="t0") for kind in ("nf4", "int8"))
    return (*moved, *fresh, replace(ON_BLOCKS, special="int8", dtype="float32", bias=False, training=True))


def run(trial: Trial) -> Finding:
    with quietly():
        layer = _layer(trial)
        before = _kept(layer)
        try:
            subject = trial.subject(layer)
        except SubjectFailed as refusal:
            if LAW in trial.entry.invariants:
                return raised(trial.case, str(refusal))
            refused = Answer(Use.REFUSES, str(refusal))
            return conclude(trial.case, _refused(layer, before, str(refusal)), facts=refused)
        if trial.entry.method is not None and trial.entry.method.replaces_weight:
            silent = holds(
                False, "a weight of codes", "an adapter that replaces it", "a refusal: codes hold no residual"
            )
            return conclude(trial.case, [silent], facts=Answer(Use.DIFFERS, "does not refuse"))
        facts = Answer(Use.WORKS, compared_with="its own quantised layer" if _quantised(trial) else "a plain layer")
        fresh = trial.probe.state == "t0"
        found = [*(_start(trial, subject) if fresh else _moved(trial, subject)), *_life(trial, subject)]
        return conclude(trial.case, found, facts=facts)


def _layer(trial: Trial, sign: float = 1.0) -> nn.Linear:
    """The probe's layer, or the one with -W, quantised."""
    plain = trial.layer().train(trial.probe.training)
    with torch.no_grad():
        plain.weight.mul_(sign)
    return packed(plain, trial.probe.special)


def _quantised(trial: Trial) -> bool:
    return isinstance(trial.reference, Live) and offers(trial.reference.objects)


def _plain(trial: Trial, dtype: str) -> nn.Linear:
    """An ordinary layer with the weight that the codes stand for."""
    plain = trial.layer(dtype).train(trial.probe.training)
    with torch.no_grad():
        plain.weight.copy_(dequantised(_layer(trial)))
    return plain


def _moved(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """Output and gradients against float64 on the dequantised weight, beside what the references lose."""
    values = rounded(trial.state(subject), subject)
    trial.load(subject, values)
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    bare, exact = _bare(trial), _exact(trial, values)
    exact.y = _by_formula(trial, values, exact)
    others = _others(trial, values)
    yield same(str(got.y.dtype), str(bare.y.dtype), "output", "dtype")
    yield same(sorted(got.grads), sorted(exact.grads), "tensors that train")
    yield _near(got.y, [run.y for run in others] + [_lost(bare.y, _exact_bare(trial).y, exact.y)], exact.y, "output")
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
    layers = [_plain(trial, trial.probe.dtype), *([_layer(trial)] if _quantised(trial) else [])]
    return [run_pass(trial.reference_subject(layer, values=values), trial.x, trial.cotangent) for layer in layers]


def _near(got: Tensor, others: list[Tensor], truth: Tensor, what: str) -> Comparison:
    """As near to the truth as the one among the others that loses most; in which dtype that answers is not asked."""
    worst = max(others, key=lambda t: float((t.double() - truth).square().mean()))
    return no_less_exact(got, worst.to(got.dtype), truth, what)


def _bare(trial: Trial) -> Run:
    """The quantised layer without any adapter."""
    layer = _layer(trial)
    return run_pass(Subject(layer, layer), trial.x, trial.cotangent)


def _exact_bare(trial: Trial) -> Run:
    layer = _plain(trial, "float64")
    return run_pass(Subject(layer, layer), trial.x.double(), trial.cotangent.double())


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
    form = _form(trial)
    if form is None:
        return exact.y
    plain = _plain(trial, "float64")
    b = torch.zeros(len(plain.weight), dtype=torch.float64) if plain.bias is None else plain.bias.detach()
    tensors = {name: v.numpy() for name, v in values.items()}
    weight, bias = form.effective(tensors, plain.weight.detach().numpy(), b.numpy(), trial.probe.settings)
    return torch.from_numpy(trial.x.double().numpy() @ weight.T + bias)


def _form(trial: Trial) -> ClosedForm | None:
    form = trial.entry.method.closed if trial.entry.method else None
    return form if form is not None and form.covers(trial.probe.settings) else None


def _start(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """A fresh adapter leaves the quantised layer's output alone, and starts where the closed form starts."""
    plain = _plain(trial, "float64")
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    yield no_less_exact(got.y, _bare(trial).y, _exact_bare(trial).y, "identity at t=0")
    want = _determined(trial, plain)
    own = {name: slot.value for name, slot in subject.slots().items()}
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
    one, two = (wide.reference_subject(copy.deepcopy(plain), seed=seed).values() for seed in (0, 1))
    return {name: value for name, value in one.items() if torch.equal(value, two[name])}


def _life(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """Saved and loaded it computes the same; taken off, it leaves every byte as it was."""
    life = trial.entry.lifecycle
    if life is None:
        return
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    if life.save is not None and life.load is not None:
        with asking_the_subject(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter"
            life.save(subject, path)
            back = life.load(_layer(trial), path)
            again = run_pass(back, trial.x, trial.cotangent)
        yield close(again.y, got.y, "output after loading", scale=0.0)
        told = ""
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "adapter"
                life.save(subject, path)
                life.load(_layer(trial, -1.0), path)
        except Exception as error:
            told = str(error)
        yield holds(bool(told), "loading onto another base", "no error", "an error")
    if life.detach is not None:
        called = _layer(trial)  # a call moves the bias to the input's dtype, and the scales to another place
        y = run_pass(Subject(called, called), trial.x, trial.cotangent).y
        with asking_the_subject():
            life.detach(subject)
        yield from _untouched(subject.base, _kept(called), "after detaching")
        left = run_pass(Subject(subject.base, subject.base), trial.x, trial.cotangent).y
        yield close(left, y, "output after detaching", scale=0.0)


def _refused(layer: nn.Linear, before: dict[str, object], told: str) -> Iterator[Comparison]:
    """A refusal names what it was given, and leaves it alone."""
    kind = type(layer).__name__
    clear = kind in told or "quanti" in told.lower()
    yield holds(clear, "what the refusal says", told, f"an error that names the {kind}")
    yield from _untouched(layer, before, "after the refusal")


def _kept(layer: nn.Module) -> dict[str, object]:
    """All that an adapter could change in a layer."""
    hooks = len(layer._forward_hooks) + len(layer._forward_pre_hooks) + len(layer._backward_hooks)
    return {
        "tensors": bits(layer),
        "hooks": hooks,
        "submodules": sorted(name for name, _ in layer.named_modules()),
        "weight's class": type(layer.weight).__name__,
    }


def _untouched(layer: nn.Module, before: dict[str, object], when: str) -> Iterator[Comparison]:
    now = _kept(layer)
    was, still = before.pop("tensors"), now.pop("tensors")
    assert isinstance(was, dict)
    assert isinstance(still, dict)
    yield same(now, before, f"layer {when}")
    yield same(_dtypes(still), _dtypes(was), f"dtypes {when}")
    for name in sorted(was.keys() & still.keys()):
        yield close(still[name].double(), was[name].double(), f"{name} {when}", scale=0.0)


def _dtypes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """But for the bias: a call of the bare layer moves that to its input's dtype."""
    return {name: str(t.dtype) for name, t in tensors.items() if name != "bias"}
