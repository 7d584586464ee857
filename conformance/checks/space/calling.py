"""The calls of a point: its inputs in memory, its mode, its number of calls before the backward, on either side."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conformance.measuring.trial import DROPOUT_SEED, Trial
from conformance.measuring.witness import passes
from refs.reference import ClosedForm
from refs.subject import Subject

GRADIENTS_OFF = {"no_grad": torch.no_grad, "inference": torch.inference_mode}


@dataclass
class Answers:
    """What the calls gave: every output, the gradient of every input, and of the tensors by name what adds up."""

    outputs: list[Tensor]
    of_inputs: list[Tensor | None]
    grads: dict[str, Tensor | None]


def mark(trial: Trial, name: str, default: Any = None) -> Any:
    """The point's value on an axis that only this check varies."""
    return dict(trial.probe.point).get(name, default)


def gradients(trial: Trial) -> bool:
    """Whether there is a backward."""
    return mark(trial, "grad") is None


def inputs(trial: Trial) -> list[tuple[Tensor, Tensor]]:
    """Input and cotangent of each call, laid out in memory as the point says."""
    several = mark(trial, "calls") in ("twice", "accumulated")
    probes = [replace(trial.probe, seed=trial.probe.seed + 10 * k) for k in range(2 if several else 1)]
    pairs = [(each.x, each.cotangent) for each in (replace(trial, probe=probe) for probe in probes)]
    kind = mark(trial, "memory", "")
    return [(_laid_out(x, kind, "x_"), _laid_out(c, kind, "cotangent_")) for x, c in pairs]


def _laid_out(t: Tensor, kind: str, prefix: str) -> Tensor:
    if kind == f"{prefix}strided":
        if t.dim() < 2:
            return torch.stack((t, t), dim=-1)[..., 0]
        return t.transpose(0, -1).contiguous().transpose(0, -1)
    if kind == f"{prefix}sliced":
        wide = torch.nn.functional.pad(t, (2, 1))
        return wide[..., 2:-1]
    if kind == f"{prefix}expanded":  # the gradient of a sum times a number
        return torch.full((), 0.75, dtype=t.dtype).expand(t.shape)
    return t


def as_doubles(pairs: list[tuple[Tensor, Tensor]], nudge: Tensor | float = 0.0) -> list[tuple[Tensor, Tensor]]:
    """The same numbers in float64."""
    return [(x.double(), c.double()) for x, c in pairs]


@contextmanager
def mode(trial: Trial, *, autocast: bool = True) -> Iterator[None]:
    """The modes that a call is made in."""
    with ExitStack() as stack:
        if (grad := mark(trial, "grad")) is not None:
            stack.enter_context(GRADIENTS_OFF[grad]())
        if autocast and mark(trial, "autocast"):
            stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        yield


def call(subject: Subject, x: Tensor, *, keyword: bool = False) -> Tensor:
    """One call. By keyword it goes to the layer itself, where that is what the adapter hooks; a host of another kind
    decides by itself how its layer is called.
    """
    layer = subject.base
    if keyword and (layer._forward_hooks or layer._forward_pre_hooks):
        name = list(inspect.signature(type(layer).forward).parameters)[1]  # the one after self
        y: Tensor = layer(**{name: x})
        return y
    return subject(x)


def answers(
    trial: Trial, subject: Subject, pairs: list[tuple[Tensor, Tensor]], *, own: bool = False, autocast: bool = True
) -> Answers:
    """All calls of the point. ``own``: the audited side, which alone is called by keyword."""
    for leaf in subject.leaves().values():
        leaf.grad = None
    keyword = own and bool(mark(trial, "keyword"))
    leaves = [x.detach().requires_grad_(gradients(trial)) for x, _ in pairs]
    how = mark(trial, "calls", "once")
    torch.default_generator.manual_seed(DROPOUT_SEED)
    outputs = []
    with mode(trial, autocast=autocast):
        for leaf, (_, cotangent) in zip(leaves, pairs):
            outputs.append(call(subject, leaf, keyword=keyword))
            if how == "accumulated":
                _back(outputs[-1:], [cotangent])
    if how == "double":
        _second(subject, outputs, [c for _, c in pairs], leaves)
    elif gradients(trial) and how != "accumulated":
        cotangents = [c for _, c in pairs]
        if how == "again":
            _back(outputs, cotangents, retain=True)
        _back(outputs, cotangents)
    grads = {name: slot.grad for name, slot in subject.slots().items() if slot.trainable}
    return Answers([y.detach() for y in outputs], [leaf.grad for leaf in leaves], grads)


def _back(outputs: list[Tensor], cotangents: list[Tensor], *, retain: bool = False) -> None:
    ys, cs = _live(outputs, cotangents)
    if ys:
        torch.autograd.backward(ys, cs, retain_graph=retain)


def _live(outputs: list[Tensor], cotangents: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs that a backward can start from, with their cotangents in shape and dtype."""
    ys = [y for y in outputs if y.requires_grad]
    cs = [c.reshape(y.shape).to(y.dtype) for y, c in zip(outputs, cotangents) if y.requires_grad]
    return ys, cs


def _second(subject: Subject, outputs: list[Tensor], cotangents: list[Tensor], inputs: list[Tensor]) -> None:
    """The gradients of a norm of all gradients, as a gradient penalty has them."""
    ys, cs = _live(outputs, cotangents)
    of = [*inputs, *subject.leaves().values()]
    first = torch.autograd.grad(ys, of, cs, create_graph=True, allow_unused=True)
    # Those of the inputs are weighed: of a rotation, the plain norm of the gradient knows nothing.
    of_inputs = [
        g * torch.linspace(0.5, 1.5, g.shape[-1], dtype=g.dtype) for g in first[: len(inputs)] if g is not None
    ]
    squares = [g.square().sum() for g in (*of_inputs, *first[len(inputs) :]) if g is not None]
    penalty = torch.stack(squares).sum()
    if penalty.requires_grad:
        torch.autograd.backward(penalty)


def of_the_form(
    trial: Trial, form: ClosedForm, values: Mapping[str, Tensor], pairs: list[tuple[Tensor, Tensor]]
) -> Answers:
    """The same from the closed form, in float64."""
    each = [passes(trial, form, values, x=x, cotangent=c) for x, c in pairs]
    times = 2 if mark(trial, "calls") == "again" else 1
    if not gradients(trial):
        return Answers([run.y for run in each], [None] * len(each), {})
    grads: dict[str, Tensor | None] = {}
    for name in each[0].grads:
        parts = [g for run in each if (g := run.grads[name]) is not None]
        grads[name] = times * torch.stack(parts).sum(0) if parts else None
    of_inputs = [None if run.grad_x is None else times * run.grad_x for run in each]
    return Answers([run.y for run in each], of_inputs, grads)
