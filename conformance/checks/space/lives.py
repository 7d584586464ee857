"""What an adapter went through before it is asked, and what must be gone once it is taken off."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from conformance.checks.space.calling import answers, call, inputs, mark, mode
from conformance.measuring.compare import Comparison, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from refs.subject import Subject

STEP = 0.01
"""Size of an optimiser's step, along the sign of the gradient."""
OTHER = 50
"""How far the seed of the numbers of another base is."""
FAR = 1.0
"""A move of this share and more is one beyond the tensor's own size, whatever that is."""


def brought_up(trial: Trial) -> Subject:
    """The audited side at the point: built, its tensors moved, with its past behind it, in the point's mode."""
    with asking_the_subject():
        subject = built(trial)
        moved = _moved(trial, subject)
        life = mark(trial, "life")
        if life in ("called", "steps", "written"):
            _one_call(trial, subject)  # what is kept from a call must not be used once the tensors have changed
        subject.load(moved)
        if life in ("steps", "written"):
            _one_call(trial, subject)
        if life == "steps":
            _train(trial, subject)
        elif life == "written":
            _write(subject)
        elif life == "saved":
            subject = _through_a_file(trial, subject)
        elif life == "reloaded":
            subject = _through_a_state(trial, subject)
        elif life == "merged":
            with merged(trial, subject):
                pass
        _steer(trial, subject)
        subject.train(trial.probe.training)
        return subject


def bare(trial: Trial) -> nn.Linear:
    """The layer as it is before anything, of the kind and in the mode that the point says."""
    layer = trial.layer()
    if mark(trial, "layer") == "conv1d":
        from transformers.pytorch_utils import Conv1D

        stored = Conv1D(layer.out_features, layer.in_features).to(layer.weight.dtype)
        with torch.no_grad():
            stored.weight.copy_(layer.weight.T)
            if layer.bias is not None:
                stored.bias.copy_(layer.bias)
        layer = cast(nn.Linear, stored)
    return layer.train(mark(trial, "attached") is None)


def built(trial: Trial, seed: int = 0) -> Subject:
    """A fresh one, on a layer of the kind and in the mode that the point says."""
    layer = bare(trial)
    if mark(trial, "steer"):
        options = tuple(pair for pair in trial.probe.options if pair[0] != "coeff")
        trial = replace(trial, probe=replace(trial.probe, options=options))
    subject = trial.subject(layer, seed=seed)
    _steer(trial, subject)
    return subject


def _steer(trial: Trial, subject: Subject) -> None:
    lifecycle = trial.entry.lifecycle
    if mark(trial, "steer") and lifecycle is not None and lifecycle.steer is not None:
        lifecycle.steer(subject, trial.probe.settings.option("coeff", 1.0))


def _moved(trial: Trial, subject: Subject) -> dict[str, Tensor]:
    """The trainable tensors, moved by the point's share of their size; negative shares change the sign first."""
    by = mark(trial, "by", 0.0 if trial.probe.state == "t0" else 0.5)
    values = {}
    for name, slot in subject.slots().items():
        if name not in subject.names or not slot.trainable or not by:
            continue
        value = slot.value.double() * (-1 if by < 0 else 1)
        scaled = trial.moved(name, value, abs(by))
        if abs(by) >= FAR:
            size = max(value.square().mean().sqrt().item(), 0.2)
            scaled = value + (scaled - value) * max(1.0, FAR / size)
        values[name] = scaled
    return values


def stored(subject: Subject) -> dict[str, Tensor]:
    """Every named tensor as it is stored, and the layer's weight, in float64."""
    values = {name: slot.value.double() for name, slot in subject.slots().items() if name in subject.names}
    return {**values, RESIDUAL: subject.weight.double().clone()}


def _one_call(trial: Trial, subject: Subject) -> None:
    with mode(trial):
        call(subject, inputs(trial)[0][0])


def _train(trial: Trial, subject: Subject) -> None:
    """Three steps of an optimiser in training mode, whatever the mode of the calls is."""
    subject.train()
    plain = replace(trial, probe=replace(trial.probe, point=(), batch=(5,)))
    optimiser = torch.optim.SGD(list(subject.leaves().values()), lr=STEP)
    for _ in range(3):
        answers(plain, subject, inputs(plain))
        for leaf in subject.leaves().values():
            if leaf.grad is not None:
                leaf.grad.nan_to_num_(0.0).sign_()
        optimiser.step()
    optimiser.zero_grad()
    subject.train(trial.probe.training)


def _write(subject: Subject) -> None:
    """One entry of every tensor, the layer's weight among them, where no version is counted."""
    tensors = {**dict(subject.host.named_parameters()), **dict(subject.host.named_buffers())}
    for tensor in (subject.base.weight, *(tensors[path] for path, _ in subject.names.values() if path in tensors)):
        place = torch.unravel_index(torch.tensor(tensor.numel() // 3), tensor.shape)
        tensor.data[place] += 1.0


def _through_a_file(trial: Trial, subject: Subject) -> Subject:
    lifecycle = trial.entry.lifecycle
    assert lifecycle is not None
    assert lifecycle.save is not None
    assert lifecycle.load is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter"
        lifecycle.save(subject, file)
        return lifecycle.load(bare(trial), file)


def _through_a_state(trial: Trial, subject: Subject) -> Subject:
    """Its ``state_dict`` in another adapter that has been in use, on a layer with other weights."""
    elsewhere = replace(trial, probe=replace(trial.probe, seed=trial.probe.seed + OTHER))
    other = built(elsewhere, seed=1)
    _one_call(elsewhere, other)
    state = {name: tensor.clone() for name, tensor in subject.host.state_dict().items()}
    other.host.load_state_dict(state)
    return other


@contextmanager
def merged(trial: Trial, subject: Subject) -> Iterator[None]:
    """Inside, the adapter is merged into the layer."""
    lifecycle = trial.entry.lifecycle
    assert lifecycle is not None
    assert lifecycle.merge is not None
    assert lifecycle.unmerge is not None
    lifecycle.merge(subject)
    yield
    lifecycle.unmerge(subject)


def draws_anew(trial: Trial) -> Comparison:
    """Building it sets no seed: from another state of the generator it leaves another state behind."""
    states = []
    with asking_the_subject():
        for seed in (0, 1):
            built(trial, seed)
            states.append(torch.get_rng_state())
    moved = not torch.equal(*states)
    return same(moved, True, "global generator, which attaching must not seed")


def left_behind(trial: Trial, subject: Subject, weight: Tensor | None) -> Iterator[Comparison]:
    """Once it is taken off: hooks, children, parameters, buffers and attributes of the layer are a bare layer's."""
    lifecycle = trial.entry.lifecycle
    if lifecycle is None or lifecycle.detach is None:
        return
    with asking_the_subject():
        lifecycle.detach(subject)
    layer = subject.base
    yield same(_marks(layer), _marks(bare(trial)), "what is left on the layer after detach")
    if weight is not None:
        yield same(torch.equal(subject.weight, weight), True, "the layer's weight after detach")


def _marks(layer: nn.Module) -> Mapping[str, object]:
    hooks = {name: len(value) for name, value in vars(layer).items() if name.endswith("_hooks") and value}
    of_tensors = {
        name: sorted(key for key in ("_backward_hooks", "_post_accumulate_grad_hooks") if getattr(p, key, None))
        for name, p in layer.named_parameters()
    }
    return {
        "hooks": hooks,
        "of tensors": of_tensors,
        "children": [name for name, _ in layer.named_modules()],
        "tensors": sorted(layer.state_dict()),
        "trainable": {name: p.requires_grad for name, p in layer.named_parameters()},
        "attributes": sorted(vars(layer)),
    }
