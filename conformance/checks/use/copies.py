"""Copies of an adapted model, and tensors that come from elsewhere: functional_call, state dicts, writes in place."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from conformance.checks.use.baseline import BASE, both, called, fresh, numbers, put, ready
from conformance.measuring.compare import Comparison, close, same
from conformance.measuring.trial import Run, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from refs.subject import Subject


def deepcopied(trial: Trial) -> Iterator[Comparison]:
    """A deep copy computes the same, and neither side sees what happens to the other."""

    def twin(subject: Subject) -> Subject:
        memo: dict[int, Any] = {}
        host = copy.deepcopy(subject.host, memo)
        return Subject(host, memo[id(subject.base)], subject.names, subject.bookkeeping)

    yield from _independent(trial, twin, "the deep copy")


def pickled(trial: Trial) -> Iterator[Comparison]:
    """The whole model through ``torch.save`` and ``torch.load`` computes the same."""

    def twin(subject: Subject) -> Subject:
        file = io.BytesIO()
        torch.save((subject.host, subject.base), file)
        file.seek(0)
        host, base = torch.load(file, weights_only=False)
        return Subject(host, base, subject.names, subject.bookkeeping)

    yield from _independent(trial, twin, "the pickled copy")


def _independent(trial: Trial, twin: Callable[[Subject], Subject], name: str) -> Iterator[Comparison]:
    """What both compute at first, after the copy has moved, after the original has, and after a step of the copy."""
    here, there, later = numbers(trial, "", "'", "''")
    at_first, moved, at_last = (fresh(trial, values) for values in (here, there, later))
    subject = ready(trial, here)
    with asking_the_subject():
        called(trial, subject)
        other = twin(subject)
        yield from both(trial, other, at_first, f"of {name}")
        yield from both(trial, put(other, there), moved, f"of {name}, moved")
        yield from both(trial, subject, at_first, f"of the original beside {name}")
        yield from both(trial, put(subject, later), at_last, "of the original, moved")
        yield from both(trial, other, moved, f"of {name} beside the original")
        for leaf in subject.leaves().values():
            leaf.grad = None
        _step(trial, other)
        got = {leaf_name: leaf.grad is None for leaf_name, leaf in subject.leaves().items()}
        yield same(got, dict.fromkeys(got, True), f"no gradient in the original from {name}")
        yield from both(trial, subject, at_last, f"of the original, once {name} was trained")


def _step(trial: Trial, subject: Subject) -> None:
    run_pass(subject, trial.x, trial.cotangent)
    torch.optim.SGD(list(subject.leaves().values()), lr=0.1).step()


def functional(trial: Trial) -> Iterator[Comparison]:
    """``torch.func.functional_call`` with other tensors computes what loading them would, and changes nothing."""
    here, there, later = numbers(trial, "", "'", "''")
    subject = ready(trial, here)
    with asking_the_subject():
        called(trial, subject)
        for values, when in ((there, "functional_call"), (later, "functional_call, once more")):
            tensors = _stored(subject, values)

            def call(x: Tensor, tensors: Mapping[str, Tensor] = tensors) -> Tensor:
                y: Tensor = functional_call(subject.host, dict(tensors), (x,))
                return y

            want = fresh(trial, values)
            with torch.no_grad():
                yield close(call(trial.x), want.y, f"output {when}, without gradients")
            yield from _gradients(trial, subject, call, tensors, want, when)
            yield close(called(trial, subject), fresh(trial, here).y, f"output of the original beside {when}")
    yield from both(trial, subject, fresh(trial, here), "of the original, after functional_call")


def _stored(subject: Subject, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers under the paths and in the shapes of the host's own parameters and buffers."""
    tensors = {**dict(subject.host.named_parameters()), **dict(subject.host.named_buffers())}
    paths = {path: view.write(values[name], tensors[path].shape) for name, (path, view) in _paths(subject).items()}
    base = next(path for path, tensor in tensors.items() if tensor is subject.base.weight)
    return {path: value.to(tensors[path].dtype) for path, value in {**paths, base: values[BASE]}.items()}


def _paths(subject: Subject) -> dict[str, Any]:
    return {name: where for name, where in subject.names.items() if name in subject.slots()}


def _gradients(
    trial: Trial,
    subject: Subject,
    call: Callable[..., Tensor],
    tensors: Mapping[str, Tensor],
    want: Run,
    when: str,
) -> Iterator[Comparison]:
    """With respect to the tensors that were passed, by ``torch.func.grad``."""
    trained = {name: where for name, where in _paths(subject).items() if name in want.grads}

    def loss(moving: dict[str, Tensor]) -> Tensor:
        return (call(trial.x, {**tensors, **moving}) * trial.cotangent).sum()

    grads = torch.func.grad(loss)({path: tensors[path] for path, _ in trained.values()})
    for name, (path, view) in trained.items():
        yield close(view.gradient(grads[path]), want.grads[name], f"gradient of {name} {when}")


def mapped(trial: Trial) -> Iterator[Comparison]:
    """``torch.func.vmap`` over several sets of tensors at once: many adapters on one base, or an ensemble."""
    here, *sets = numbers(trial, "", "'", "''")
    subject = ready(trial, here)
    stored = [_stored(subject, values) for values in sets]
    stacked = {path: torch.stack([tensors[path] for tensors in stored]) for path in stored[0]}
    with asking_the_subject(), torch.no_grad():
        subject(trial.x)
        y = torch.func.vmap(lambda tensors: functional_call(subject.host, tensors, (trial.x,)))(stacked)
    for own, values in zip(y, sets):
        yield close(own, fresh(trial, values).y, "output of each set of tensors at once")


def loaded(trial: Trial) -> Iterator[Comparison]:
    """``load_state_dict`` takes effect at once, in place and by assignment, and misses no tensor."""
    here, there = numbers(trial, "", "'")
    with asking_the_subject():
        state = {key: t.detach().clone() for key, t in ready(trial, there).host.state_dict().items()}
    for assign in (False, True):
        subject = ready(trial, here)
        when = "after load_state_dict(assign=True)" if assign else "after load_state_dict"
        with asking_the_subject():
            called(trial, subject)
            answer = subject.host.load_state_dict({key: t.clone() for key, t in state.items()}, assign=assign)
            yield same(list(answer.missing_keys) + list(answer.unexpected_keys), [], f"keys {when}")
            yield from both(trial, subject, fresh(trial, there), when)


def written(trial: Trial) -> Iterator[Comparison]:
    """Whatever way a tensor is written after a call, the next call reads it: each tensor alone, in each way."""
    here, there = numbers(trial, "", "'")
    ways = {".copy_": _in_place, ".data.copy_": _behind_the_version, ".data =": _other_memory}
    for name in here:
        for how, write in ways.items():
            yield _after(trial, here, name, there[name], write, how)


def one_entry(trial: Trial) -> Iterator[Comparison]:
    """One entry is written without a change of the version counter: a cache that samples entries may miss it."""
    (here,) = numbers(trial, "")
    for name, value in here.items():
        moved = value.clone(memory_format=torch.contiguous_format)
        moved.view(-1)[moved.numel() // 3] += 1.0
        yield _after(trial, here, name, moved, _behind_the_version, ".data[i] =")


def _after(
    trial: Trial,
    here: Mapping[str, Tensor],
    name: str,
    value: Tensor,
    write: Callable[[Tensor, Tensor], None],
    how: str,
) -> Comparison:
    """The output of the call after one tensor was written, without gradients as the call before it."""
    subject = ready(trial, here)
    with asking_the_subject():
        called(trial, subject)
        write(_tensor(subject, name), _shaped(subject, name, value))
        y = called(trial, subject)
    want = called(trial, ready(trial, {**here, name: value}))
    return close(y, want, f"output after {name}{how}")


def _tensor(subject: Subject, name: str) -> Tensor:
    if name == BASE:
        return subject.base.weight
    tensors = {**dict(subject.host.named_parameters()), **dict(subject.host.named_buffers())}
    return tensors[subject.names[name][0]]


def _shaped(subject: Subject, name: str, value: Tensor) -> Tensor:
    tensor = _tensor(subject, name)
    value = value if name == BASE else subject.names[name][1].write(value, tensor.shape)
    return value.to(tensor.dtype).contiguous()


def _in_place(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        tensor.copy_(value)


def _behind_the_version(tensor: Tensor, value: Tensor) -> None:
    tensor.data.copy_(value)


def _other_memory(tensor: Tensor, value: Tensor) -> None:
    tensor.data = value.clone()
