"""Are two adapters on two layers of one model independent: trained, saved, loaded, detached one by one?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL
from conformance.measuring.compare import Comparison, close, conclude, same
from conformance.measuring.trial import RESIDUAL, Run, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.lifecycle import Pair
from conformance.nouns.probe import Probe
from refs.reference import Reference
from refs.subject import Subject


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Two square layers, with and without bias, once per entry that can build a pair."""
    can = entry.lifecycle is not None and entry.lifecycle.pair is not None
    if not can or entry.method is None or reference is not entry.method.main:
        return ()
    square = replace(SMALL, d_in=16, d_out=16)
    return (square, replace(square, bias=False, batch=(2, 3)))


def run(trial: Trial) -> Finding:
    """Compare both adapters with the same ones alone, from files, and as they are taken off."""
    life = trial.entry.lifecycle
    assert life is not None
    assert life.pair is not None
    layers = _layers(trial)
    bits = [_tensors(layer) for layer in layers]
    with asking_the_subject():
        pair = life.pair(layers, trial.probe.settings)
        pair.model.train(trial.probe.training)
        values = [_state(trial, subject) for subject in pair.subjects]
        for subject, own in zip(pair.subjects, values):
            subject.load(own)
    alone = [_alone(trial, which, subject) for which, subject in enumerate(pair.subjects)]
    with asking_the_subject():
        comparisons = list(_together(trial, pair, alone))
        comparisons += _from_files(trial, pair)
        comparisons += _one_by_one(trial, pair, alone, bits)
    return conclude(trial.case, comparisons)


def _layers(trial: Trial) -> tuple[nn.Linear, nn.Linear]:
    """Two layers in a row, different."""
    return trial.layer(), replace(trial, probe=replace(trial.probe, seed=trial.probe.seed + 50)).layer()


def _state(trial: Trial, subject: Subject) -> dict[str, Tensor]:
    values = trial.state(subject)
    values.pop(RESIDUAL, None)
    return values


def _alone(trial: Trial, which: int, subject: Subject) -> Subject:
    """The same adapter with the same numbers on a layer of its own."""
    alone = trial.subject(_layers(trial)[which])
    with asking_the_subject():
        own = {name: slot.value for name, slot in subject.slots().items() if name in subject.names}
        alone.load(own)
        with torch.no_grad():
            alone.base.weight.copy_(subject.base.weight)
    return alone


def _pass(trial: Trial, model: nn.Module, subjects: dict[int, Subject]) -> Run:
    """One forward and backward pass of a whole model; the gradients of the subjects in it."""
    for subject in subjects.values():
        for leaf in subject.leaves().values():
            leaf.grad = None
    x = trial.x.detach().requires_grad_()
    y: Tensor = model(x)
    torch.autograd.backward(y, trial.cotangent)
    grads = {
        f"{name} of {index}": slot.grad
        for index, subject in subjects.items()
        for name, slot in subject.slots().items()
        if slot.trainable and name in subject.names
    }
    return Run(y.detach(), x.grad, grads)


def _both(trial: Trial, pair: Pair) -> Run:
    return _pass(trial, pair.model, dict(enumerate(pair.subjects)))


def _compare(got: Run, want: Run, when: str) -> Iterator[Comparison]:
    yield close(got.y, want.y, f"output {when}")
    yield close(got.grad_x, want.grad_x, f"gradient of x {when}")
    yield same(sorted(got.grads), sorted(want.grads), f"trainable tensors {when}")
    for name, grad in want.grads.items():
        yield close(got.grads.get(name), grad, f"gradient of {name} {when}")


def _together(trial: Trial, pair: Pair, alone: list[Subject]) -> Iterator[Comparison]:
    chain = nn.Sequential(*(subject.host for subject in alone))
    yield from _compare(_both(trial, pair), _pass(trial, chain, dict(enumerate(alone))), "of both")


def _from_files(trial: Trial, pair: Pair) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / "first", Path(folder) / "second")
        for which, path in enumerate(paths):
            pair.save(which, path)
        # Loaded in the other order than they were attached.
        back = pair.load(_layers(trial), (paths[1], paths[0]))
        back.model.train(trial.probe.training)
        yield from _compare(_both(trial, back), _both(trial, pair), "of both from files")


def _one_by_one(trial: Trial, pair: Pair, alone: list[Subject], bits: list[dict[str, Tensor]]) -> Iterator[Comparison]:
    pair.detach(0)
    chain = nn.Sequential(_layers(trial)[0].requires_grad_(False), alone[1].host)
    got = _pass(trial, pair.model, {1: pair.subjects[1]})
    yield from _compare(got, _pass(trial, chain, {1: alone[1]}), "of the one left")
    base = {id(t) for t in (pair.subjects[1].base.weight, pair.subjects[1].base.bias)}
    trained = sorted(n for n, p in pair.model.named_parameters() if p.requires_grad and id(p) in base)
    yield same(trained, [], "base trainable under the one left")
    pair.detach(1)
    for index, want_bits in enumerate(bits):
        now = _tensors(pair.model.get_submodule(str(index)))
        yield same(sorted(now), sorted(want_bits), f"tensors of layer {index} after both")
        for name, tensor in want_bits.items():
            yield close(now.get(name), tensor, f"{name} of layer {index} after both", scale=0.0)
    frozen = sorted(n for n, p in pair.model.named_parameters() if not p.requires_grad)
    yield same(frozen, [], "parameters left frozen after both")


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
