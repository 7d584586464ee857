"""Two processes with gloo: does DistributedDataParallel give a single process's gradients and tensors after a step?"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from learning import task
from learning.rates import RATES
from learning.sides import put
from learning.task import Data

WORLD = 2
LIMIT = 1e-5
"""Float32, and the halves of a batch are summed in another order: as a share of the largest number of the tensor."""
MODEL = "Llama"


def stepped(name: str, taught: Data, inputs: Tensor, targets: Tensor, *, wrap: bool) -> tuple[dict[str, Tensor], ...]:
    """Gradients, and all trainable tensors after one step of AdamW, on these rows; by name, without the wrapper's."""
    model = started(name, taught)
    called: nn.Module = DistributedDataParallel(model) if wrap else model
    called.train()
    optimiser = torch.optim.AdamW([p for p in called.parameters() if p.requires_grad], lr=RATES[name].lr)
    task.loss(called, inputs, targets).backward()  # type: ignore[no-untyped-call]
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    grads = {key: p.grad.detach().clone() for key, p in trained.items() if p.grad is not None}
    optimiser.step()
    return grads, {key: p.detach().clone() for key, p in trained.items()}


def started(name: str, taught: Data) -> nn.Module:
    """A tiny model with the variant on it, its tensors away from their start: the same in every process."""
    torch.manual_seed(0)
    model = task.MODELS[MODEL]()
    put(name, model, taught, seed=0)
    # Off the start: a gradient that is zero there would agree with anything.
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw))
    return model


def apart(got: Sequence[dict[str, Tensor]], want: Sequence[dict[str, Tensor]]) -> str:
    """What differs between two steps, in a word: empty if nothing does."""
    for what, ours, theirs in zip(("gradient", "tensor after a step"), got, want, strict=True):
        if ours.keys() != theirs.keys():
            return f"{what}: not the same tensors"
        for key, tensor in theirs.items():
            if (ours[key] - tensor).abs().max() > LIMIT * max(tensor.abs().max().item(), 1e-12):
                return f"{what} of {key}"
    return ""


def compared(names: Sequence[str]) -> dict[str, str]:
    """By variant: ``same``, what differs, or the error that the variant raised."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_worker, args=(tuple(names), folder), nprocs=WORLD)  # type: ignore[no-untyped-call]
        parts: list[dict[str, Any]] = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]
    taught = task.data(rule=1, seed=10)
    answers = {}
    for name in names:
        failed = next((part[name] for part in parts if isinstance(part[name], str)), "")
        if failed:
            answers[name] = failed
            continue
        alone = stepped(name, taught, *taught.batch(0), wrap=False)
        differs = [found for part in parts if (found := apart(part[name], alone))]
        answers[name] = differs[0] if differs else "same"
    return answers


def _worker(rank: int, names: tuple[str, ...], folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    taught = task.data(rule=1, seed=10)
    inputs, targets = (whole.chunk(WORLD)[rank] for whole in taught.batch(0))
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = stepped(name, taught, inputs, targets, wrap=True)
        except RuntimeError as error:
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
