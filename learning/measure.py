"""Train a variant, peft's tuner and a control on one model, seed by seed, and look at what must hold afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
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


def measure(name: str, model_name: str, *, seeds: int = task.SEEDS, steps: int = task.STEPS, times: float = 1.0) -> Row:
    """A row of the table. ``times``: the learning rate in units of the authors'."""
    lr = RATES[name].lr * times
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
    before = prints(ours)
    run = train(ours, taught, lr, steps)
    still, moved = moves(before, ours)
    peft_run = None if theirs.model is None else train(theirs.model, taught, lr, steps)
    return Seed(
        run,
        peft_run,
        train(control, taught.shuffled(7), lr, steps),
        still,
        moved,
        reloads(ours, task.base(model_name), taught.held_inputs),
        generates(ours, taught.held_inputs),
        checkpointed,
    )


def prints(model: nn.Module) -> dict[str, bytes]:
    """A hash of every tensor of the state."""
    return {
        key: sha256(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()).digest()
        for key, tensor in model.state_dict().items()
    }


def moves(before: dict[str, bytes], model: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Trainable tensors that are as before, and other tensors that are not."""
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    after = prints(model)
    # A method that takes a part of the weight over has put the rest into the layer when it was attached.
    still = tuple(sorted(key for key in trained if before[key] == after[key]))
    return still, tuple(sorted(key for key in before.keys() - trained if before[key] != after[key]))


def train(
    model: nn.Module, taught: Data, lr: float, steps: int, each: Callable[[float], None] = lambda loss: None
) -> Run:
    """AdamW without decay at a constant rate, on whatever of the model trains. ``each`` is told the loss of a step."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    start, curve = _losses(model, taught), []
    model.train()
    for step in range(steps):
        optimiser.zero_grad()
        loss = task.loss(model, *taught.batch(step))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        curve.append(loss.item())
        each(curve[-1])
    end = _losses(model, taught)
    return Run(tuple(curve), (start[0], end[0]), (start[1], end[1]))


def _losses(model: nn.Module, taught: Data) -> tuple[float, float]:
    splits = ((taught.inputs, taught.targets), (taught.held_inputs, taught.held_targets))
    whole, held_out = (task.losses(model, *split, taught.size).mean().item() for split in splits)
    return whole, held_out


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


def reloads(model: nn.Module, fresh: nn.Module, inputs: Tensor) -> bool:
    """Whether the adapter, saved and loaded onto a fresh base, gives the same logits bit for bit."""
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "adapter.safetensors")
        load(fresh, Path(folder) / "adapter.safetensors")
    fresh.eval()
    with torch.no_grad():
        return torch.equal(model(input_ids=inputs).logits, fresh(input_ids=inputs).logits)


def generates(model: nn.Module, inputs: Tensor) -> bool:
    """Whether greedy generation gives the same tokens with a cache as without."""
    model.eval()
    asked: Any = model
    prompt = inputs[:4, :PROMPT]
    same: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
    with torch.no_grad():
        cached, whole = (asked.generate(prompt, use_cache=use, **same) for use in (True, False))
    return cached.shape[1] > prompt.shape[1] and torch.equal(cached, whole)


def all_rows(names: Sequence[str], models: Sequence[str], say: Callable[[str], None]) -> list[Row]:
    """Every variant on every model, with progress told."""
    rows = []
    for model_name in models:
        for name in names:
            rows.append(measure(name, model_name))
            say(f"{len(rows)} of {len(names) * len(models)}: {name} on {model_name}")
    return rows
