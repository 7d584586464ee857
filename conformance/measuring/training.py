"""A short training run of one side: the same batches and the same optimiser, whatever is behind the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.optim import SGD, AdamW, Optimizer

from conformance.measuring.conditioning import signs
from conformance.measuring.trial import Trial
from conformance.measuring.witness import passes
from refs.reference import ClosedForm
from refs.subject import Subject

STEPS = 10
EVALUATE_EVERY = 3
"""Between two steps the held-out loss is asked in eval mode, in turn under ``no_grad`` and in inference mode."""
TEACHER = 0.5
"""The target is the base layer with its weight moved by this share of its size."""


@dataclass(frozen=True)
class Regime:
    """An optimiser, how many batches add up to one step, and where the gradient's norm is cut."""

    make: Callable[[list[Tensor]], Optimizer]
    batches: int = 1
    clip: float | None = None


LR, DECAY, CLIP = 0.01, 0.3, 0.5
"""A decay of 0.3 takes 3 % of a tensor in all: far beyond rounding, below what is learned. Gradients of the task
are longer than ``CLIP`` at the start and get shorter than it."""

REGIMES: dict[str, Regime] = {
    "sgd": Regime(partial(SGD, lr=LR, foreach=False)),
    "adamw": Regime(partial(AdamW, lr=LR, weight_decay=0.0, foreach=False)),
    "adamw-decay": Regime(partial(AdamW, lr=LR, weight_decay=DECAY, foreach=False)),
    "adamw-accumulate-clip": Regime(partial(AdamW, lr=LR, weight_decay=0.0, foreach=False), batches=2, clip=CLIP),
}


@dataclass(frozen=True)
class Lessons:
    """Batches ``x: (steps, batches, n, d_in)`` with their targets, and one held-out batch."""

    x: Tensor
    target: Tensor
    held_x: Tensor
    held_target: Tensor

    def nudged(self, by: float) -> Lessons:
        """The same with every input moved by that share, up and down in turn."""
        return replace(self, x=self.x * (1 + by * signs(self.x)))


def lessons(trial: Trial, regime: Regime, *, seed: int = 0, steps: int = STEPS) -> Lessons:
    """The task: the outputs of the base layer with another weight, x standard normal. In the probe's dtype."""
    p = trial.probe
    rng = np.random.default_rng([p.seed, 4, seed])
    base = trial.layer("float64")
    moved = base.weight.detach() + TEACHER / p.d_in**0.5 * torch.from_numpy(rng.standard_normal((p.d_out, p.d_in)))
    bias = None if base.bias is None else base.bias.detach()
    dtype: torch.dtype = getattr(torch, p.dtype)
    x = torch.from_numpy(rng.standard_normal((steps, regime.batches, *p.batch, p.d_in))).to(dtype)
    held = torch.from_numpy(rng.standard_normal((*p.batch, p.d_in))).to(dtype)
    return Lessons(x, linear(x.double(), moved, bias), held, linear(held.double(), moved, bias))


@dataclass(frozen=True)
class Course:
    """What a run went through: losses before each step, held-out losses, and each tensor after each step."""

    losses: Tensor
    held_out: Tensor
    tensors: dict[str, Tensor]
    frozen: dict[str, bool]
    """Of the base's tensors and of those that do not train: whether they are what they were, bit for bit."""

    def until(self, steps: int) -> Course:
        """Its first steps."""
        tensors = {name: values[:steps] for name, values in self.tensors.items()}
        return Course(self.losses[:steps], self.held_out[: steps // EVALUATE_EVERY], tensors, self.frozen)


def train(subject: Subject, taught: Lessons, regime: Regime) -> Course:
    """A layer, as a user trains it: the optimiser is made first, from every parameter that trains."""
    host = subject.host
    parameters: list[Tensor] = [p for p in host.parameters() if p.requires_grad]
    optimiser = regime.make(parameters)
    before = _unmoved(subject)
    seen: dict[str, list[Tensor]] = {name: [] for name, slot in subject.slots().items() if slot.trainable}
    losses: list[float] = []
    held_out: list[float] = []
    subject.train()
    for step in range(len(taught.x)):
        optimiser.zero_grad()
        total = 0.0
        for x, target in zip(taught.x[step], taught.target[step]):
            loss = _loss(subject(x), target) / regime.batches
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        losses.append(total)
        if regime.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, regime.clip, foreach=False)
        optimiser.step()
        slots = subject.slots()
        for name, values in seen.items():
            values.append(slots[name].value.clone())
        if step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
            held_out.append(_evaluated(subject, taught, inference=len(held_out) % 2 == 1))
    after = _unmoved(subject)
    frozen = {name: name in after and bool(torch.equal(value, after[name])) for name, value in before.items()}
    return Course(torch.tensor(losses).double(), torch.tensor(held_out).double(), _stacked(seen), frozen)


def train_form(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor], taught: Lessons, regime: Regime) -> Course:
    """The closed form's tensors by its gradients in NumPy, with the same optimiser."""
    tensors = {name: value.double().clone() for name, value in values.items()}
    trained = _trains(trial, form, tensors)
    optimiser = regime.make([tensors[name] for name in trained])
    seen: dict[str, list[Tensor]] = {name: [] for name in trained}
    losses: list[float] = []
    held_out: list[float] = []
    for step in range(len(taught.x)):
        optimiser.zero_grad()
        total = 0.0
        for x, target in zip(taught.x[step], taught.target[step]):
            y = passes(trial, form, tensors, x=x, cotangent=torch.zeros_like(target)).y.requires_grad_()
            loss = _loss(y, target) / regime.batches
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            assert y.grad is not None
            grads = passes(trial, form, tensors, x=x, cotangent=y.grad).grads
            for name in trained:
                known, more = tensors[name].grad, grads[name]
                assert more is not None
                tensors[name].grad = more if known is None else known + more
        losses.append(total)
        if regime.clip is not None:
            torch.nn.utils.clip_grad_norm_([tensors[name] for name in trained], regime.clip, foreach=False)
        optimiser.step()
        for name, own in seen.items():
            own.append(tensors[name].clone())
        if step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
            y = passes(trial, form, tensors, x=taught.held_x, cotangent=torch.zeros_like(taught.held_target)).y
            held_out.append(_loss(y, taught.held_target).item())
    return Course(torch.tensor(losses).double(), torch.tensor(held_out).double(), _stacked(seen), {})


def _trains(trial: Trial, form: ClosedForm, tensors: Mapping[str, Tensor]) -> list[str]:
    """The tensors that the form has a gradient of."""
    y = torch.zeros((*trial.probe.batch, trial.probe.d_out))
    return list(passes(trial, form, tensors, x=trial.x, cotangent=y).grads)


def _loss(y: Tensor, target: Tensor) -> Tensor:
    """Half the squared error, summed over the outputs and averaged over the rows; in float64."""
    return 0.5 * (y.double() - target).square().sum(dim=-1).mean()


def _evaluated(subject: Subject, taught: Lessons, *, inference: bool) -> float:
    subject.train(False)
    with torch.inference_mode() if inference else torch.no_grad():
        loss = _loss(subject(taught.held_x), taught.held_target).item()
    subject.train()
    return loss


def _unmoved(subject: Subject) -> dict[str, Tensor]:
    """What no step may change: the base, and the tensors that do not train."""
    base = {f"base {name}": p.detach().clone() for name, p in subject.base_parameters().items()}
    return base | {name: slot.value.clone() for name, slot in subject.slots().items() if not slot.trainable}


def _stacked(seen: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(values) for name, values in seen.items()}
