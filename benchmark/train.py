"""Train what of a model is trainable, on one device or several: the same sum over the same batch on any number."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.prompts import IGNORED, Encoded, batch
from benchmark.settings import Settings


@dataclass(frozen=True)
class Trained:
    """The mean loss per token of every step, how many tokens were seen, and the seconds it took."""

    losses: tuple[float, ...]
    tokens: int
    seconds: float


def train(
    accelerator: Any,
    model: nn.Module,
    rows: Sequence[Encoded],
    settings: Settings,
    pad: int,
    each: Callable[[float], None] = lambda loss: None,
) -> Trained:
    """AdamW with a linear warm-up and a cosine to zero. ``model`` stays as it is; a wrapper around it is trained.

    Each process takes its share of every batch, in parts of ``settings.micro`` rows. Every part's summed loss is
    divided by the number of targets of the whole batch: the step does not depend on how the batch is dealt out.
    """
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=settings.lr, weight_decay=settings.weight_decay
    )
    wrapped, optimiser = accelerator.prepare(model, optimiser)
    wrapped.train()
    world, rank, device = accelerator.num_processes, accelerator.process_index, accelerator.device
    losses, tokens, start = [], 0, time.perf_counter()
    for step, chosen in enumerate(batches(len(rows), settings.batch, settings.steps, settings.seed)):
        whole = [rows[at] for at in chosen]
        targets = sum(len(row.response) for row in whole)
        mine = whole[rank::world]
        parts = [mine[at : at + settings.micro] for at in range(0, len(mine), settings.micro)]
        total = torch.zeros((), device=device)
        for part in parts:
            last = part is parts[-1]
            with nullcontext() if last else accelerator.no_sync(wrapped):
                loss = summed_loss(wrapped, *(t.to(device) for t in batch(part, pad))) / targets
                total += loss.detach()
                # DDP takes the mean over processes, and the sum is wanted.
                accelerator.backward(loss * world)
        if settings.clip:
            accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * schedule(step, settings.steps, settings.warmup)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(accelerator.reduce(total, reduction="sum")))
        tokens += sum(map(len, whole))
        each(losses[-1])
    return Trained(tuple(losses), tokens, time.perf_counter() - start)


def summed_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in float32, summed over the targets."""
    logits: Tensor = model(input_ids=inputs).logits
    flat = logits.float().reshape(-1, logits.shape[-1])
    return F.cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORED, reduction="sum")


def batches(n: int, size: int, steps: int, seed: int) -> list[list[int]]:
    """Which rows each step takes: a new order in every pass over all."""
    draw = random.Random(seed)
    left: list[int] = []
    found: list[list[int]] = []
    for _ in range(steps):
        while len(left) < size:
            order = list(range(n))
            draw.shuffle(order)
            left += order
        found.append(left[:size])
        left = left[size:]
    return found


def schedule(step: int, steps: int, warmup: float) -> float:
    """The learning rate as a share of the highest."""
    ramp = math.ceil(steps * warmup)
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


@torch.no_grad()
def mean_loss(accelerator: Any, model: nn.Module, rows: Sequence[Encoded], size: int, pad: int) -> float:
    """Per target, over rows that are dealt out to the processes; NaN if there are none."""
    if not rows:
        return math.nan
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    for at in range(0, len(mine), size):
        inputs, targets = (t.to(accelerator.device) for t in batch(mine[at : at + size], pad))
        sums += torch.tensor([summed_loss(model, inputs, targets).item(), (targets != IGNORED).sum().item()])
    total = accelerator.reduce(sums.to(accelerator.device), reduction="sum")
    return float(total[0] / total[1])
