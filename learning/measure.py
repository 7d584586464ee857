"""Train a variant, peft's tuner and a control on one model, seed by seed, and look at what must hold afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learning import task
from learning.rates import RATES
from learning.sides import Beside, beside, put
from learning.task import Data
from variants import load, save

CHECKPOINTED = 1e-5
"""Gradients of a recomputed forward may differ from the plain ones by this share: float32."""
PROMPT, NEW_TOKENS = 5, 8


@dataclass(frozen=True)
class Run:
    """One training run: the loss of every batch before its step, and both splits before and after."""

    curve: tuple[float, ...]
    train: tuple[float, float]
    held_out: tuple[float, float]


@dataclass(frozen=True)
class Seed:
    """What one seed gave. ``peft`` is None where it has no such tuner."""

    ours: Run
    peft: Run | None
    control: Run
    still: tuple[str, ...]
    """Trainable tensors that did not move."""
    base_moved: tuple[str, ...]
    reloaded: bool
    generated: bool
    """Whether greedy generation gives the same tokens with a cache of keys and values as without."""
    checkpointed: float
    """The worst difference of a gradient under activation checkpointing, as a share of the largest."""


@dataclass(frozen=True)
class Row:
    """A variant on a model."""

    variant: str
    model: str
    lr: float
    why_no_peft: str
    seeds: tuple[Seed, ...]


def measure(name: str, model_name: str, *, seeds: int = task.SEEDS, steps: int = task.STEPS) -> Row:
    """A row of the table."""
    lr = RATES[name].lr
    found, why = [], ""
    for seed in range(seeds):
        taught = task.data(rule=1, seed=10 + seed)
        ours = task.base(model_name)
        put(name, ours, taught, seed)
        theirs = beside(name, ours, model_name)
        why = theirs.why_not
        control = task.base(model_name)
        put(name, control, taught, seed)
        found.append(_seed(name, model_name, taught, ours, theirs, control, lr, steps))
    return Row(name, model_name, lr, why, tuple(found))


def _seed(
    name: str, model_name: str, taught: Data, ours: nn.Module, theirs: Beside, control: nn.Module, lr: float, steps: int
) -> Seed:
    checkpointed = _checkpointed(ours, taught)
    before = {key: tensor.detach().clone() for key, tensor in ours.state_dict().items()}
    trained = {key for key, p in ours.named_parameters() if p.requires_grad}
    run = train(ours, taught, lr, steps)
    after = ours.state_dict()
    # A method that takes a part of the weight over has put the rest into the layer when it was attached.
    still = tuple(sorted(key for key in trained if torch.equal(before[key], after[key])))
    moved = tuple(sorted(key for key in before.keys() - trained if not torch.equal(before[key], after[key])))
    peft_run = None if theirs.model is None else train(theirs.model, taught, lr, steps)
    return Seed(
        run,
        peft_run,
        train(control, taught.shuffled(7), lr, steps),
        still,
        moved,
        _reloads(ours, model_name, taught),
        _generates(ours, taught),
        checkpointed,
    )


def train(model: nn.Module, taught: Data, lr: float, steps: int) -> Run:
    """AdamW without decay at a constant rate, on whatever of the model trains."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    start, curve = _losses(model, taught), []
    model.train()
    for step in range(steps):
        optimiser.zero_grad()
        loss = task.loss(model, *taught.batch(step))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        curve.append(loss.item())
    end = _losses(model, taught)
    return Run(tuple(curve), (start[0], end[0]), (start[1], end[1]))


def _losses(model: nn.Module, taught: Data) -> tuple[float, float]:
    model.eval()
    with torch.no_grad():
        whole = task.loss(model, taught.inputs, taught.targets).item()
        return whole, task.loss(model, taught.held_inputs, taught.held_targets).item()


def _gradients(model: nn.Module, taught: Data) -> list[Tensor]:
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(task.loss(model, *taught.batch(0)), parameters))


def _checkpointed(model: nn.Module, taught: Data) -> float:
    plain = _gradients(model, taught)
    on: Any = model
    on.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recomputed = _gradients(model, taught)
    on.gradient_checkpointing_disable()
    scale = max(g.abs().max().item() for g in plain)
    return max((a - b).abs().max().item() for a, b in zip(plain, recomputed, strict=True)) / scale


def _reloads(model: nn.Module, model_name: str, taught: Data) -> bool:
    model.eval()
    fresh = task.base(model_name)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "adapter.safetensors")
        load(fresh, Path(folder) / "adapter.safetensors")
    fresh.eval()
    with torch.no_grad():
        return torch.equal(model(input_ids=taught.held_inputs).logits, fresh(input_ids=taught.held_inputs).logits)


def _generates(model: nn.Module, taught: Data) -> bool:
    model.eval()
    asked: Any = model
    prompt = taught.held_inputs[:4, :PROMPT]
    same: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
    with torch.no_grad():
        cached, whole = (asked.generate(prompt, use_cache=use, **same) for use in (True, False))
    return cached.shape == (4, PROMPT + NEW_TOKENS) and torch.equal(cached, whole)


def all_rows(names: Sequence[str], models: Sequence[str], say: Callable[[str], None]) -> list[Row]:
    """Every variant on every model, with progress told."""
    rows = []
    for model_name in models:
        for name in names:
            rows.append(measure(name, model_name))
            say(f"{len(rows)} of {len(names) * len(models)}: {name} on {model_name}")
    return rows
