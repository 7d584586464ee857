"""Two processes per model: an adapter from its file in a process that never saw it made, under DDP, and under FSDP2."""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.life import Life, answer, equal, near, require
from models.zoo import KINDS
from variants import load, save

WORLD, LIMIT = 2, 120
"""Processes, and seconds that they have for one variant on one model."""


def loading(life: Life, rank: int) -> None:
    """In this process: the outputs that the process had which trained the adapter, every bit."""
    model = _loaded(life)
    equal(
        life.out(model),
        torch.load(_outputs(life, life.folder)),
        "a loaded adapter computes something else in a new process",
    )


def ddp(life: Life, rank: int) -> None:
    """The gradients of the whole batch, from half of it in each process."""
    model = _loaded(life)
    _half(life, rank, model, DistributedDataParallel(model))


def fsdp(life: Life, rank: int) -> None:
    """Likewise, with every block and the rest of the model in shards; and ``save`` gathers the adapter."""
    import torch.distributed.fsdp

    model = _loaded(life)
    mesh = torch.distributed.init_device_mesh("cpu", (WORLD,))
    for block in _blocks(model):
        torch.distributed.fsdp.fully_shard(block, mesh=mesh)
    torch.distributed.fsdp.fully_shard(model, mesh=mesh)
    _half(life, rank, model, model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(0.5)
    path = life.folder / f"{life.kind.name}-{life.variant}.gathered"
    save(model, path)
    dist.barrier()
    fresh = copy.deepcopy(life.base)
    load(fresh, path)
    got, want = ({key: _whole(p) for key, p in m.named_parameters() if p.requires_grad} for m in (fresh, model))
    require(got.keys() == want.keys(), "other tensors come back from the file")
    for key, tensor in want.items():
        equal(got[key], tensor, f"{key} comes back from the file with other numbers")


WAYS: dict[str, Callable[[Life, int], None]] = {"new process": loading, "DDP": ddp, "FSDP2": fsdp}
ALONE = ("new process",)
"""What one process does; they take turns."""


def answers(lives: Sequence[Life], folder: Path, limit: float = LIMIT) -> dict[tuple[str, str, str], str]:
    """By model, variant and way: a cell. What cannot even be saved here has that answer in every cell.

    Two processes do them all. ``folder``: what is on disk between them; ``limit``: seconds for each life.
    """
    cells: dict[tuple[str, str, str], str] = {}
    for life in lives:
        if (text := answer(_write, life, folder)) != "works":
            cells |= {(life.kind.name, life.variant, way): text for way in WAYS}
    refused = {key[:2] for key in cells}
    names = [(life.kind.name, life.variant) for life in lives if (life.kind.name, life.variant) not in refused]
    if names:
        context: Any = mp.start_processes(  # type: ignore[no-untyped-call]
            _worker, args=(names, str(folder)), nprocs=WORLD, join=False, start_method="spawn"
        )
        try:
            ended = context.join(timeout=limit * len(names))
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            print(error, file=sys.stderr)
            ended = True
        if not ended:
            for process in context.processes:
                process.kill()
        found: dict[tuple[str, str, str], str] = {}
        for rank in range(WORLD):
            part = folder / f"{rank}.json"
            for kind, name, way, text in json.loads(part.read_text()) if part.exists() else []:
                if found.get((kind, name, way), "works") == "works":
                    found[kind, name, way] = text
        missing = "fails: no answer from the processes"
        cells |= {(*name, way): found.get((*name, way), missing) for name in names for way in WAYS}
    return cells


def _write(life: Life, folder: Path) -> None:
    save(life.trained(), _file(life, folder))
    torch.save(life.logits, _outputs(life, folder))


def _worker(rank: int, names: Sequence[tuple[str, str]], folder: str) -> None:
    quiet()
    cells: list[tuple[str, str, str, str]] = []
    meet = f"file://{folder}/meet"
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=WORLD, timeout=timedelta(seconds=LIMIT))
    kind, base = KINDS[0], torch.nn.Module()
    for number, (model, variant) in enumerate(names):
        if not number or kind.name != model:
            kind = next(each for each in KINDS if each.name == model)
            base = kind.made()
        life = Life(kind, base, variant, Path(folder))
        for way, call in WAYS.items():
            if way in ALONE and number % WORLD != rank:
                continue
            cells.append((model, variant, way, answer(call, life, rank)))
        (Path(folder) / f"{rank}.json").write_text(json.dumps(cells))
    dist.destroy_process_group()


def quiet() -> None:
    """One thread, and nothing on the screen that is not about a fault."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("bitsandbytes", "transformers", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _half(life: Life, rank: int, model: nn.Module, called: nn.Module) -> None:
    """Without dropout: each process would draw its own mask."""
    alone = _loaded(life)
    alone.eval()(**life.batch).loss.backward()
    want = {key: p.grad for key, p in alone.named_parameters() if p.requires_grad}
    called.eval()(**{key: t.chunk(WORLD)[rank] for key, t in life.batch.items()}).loss.backward()
    got = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    require(got.keys() == want.keys(), "other tensors train than in one process")
    for key, grad in want.items():
        require(grad is not None and got[key] is not None, f"{key} gets no gradient")
        near(_whole(got[key]), _whole(grad), f"another gradient of {key}")


def _loaded(life: Life) -> nn.Module:
    model = copy.deepcopy(life.base)
    load(model, _file(life, life.folder))
    return model.eval()


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules."""
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return [block for name in outer for block in lists[name]]


def _whole(tensor: Any) -> Tensor:
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach()


def _file(life: Life, folder: Path) -> Path:
    return folder / f"{life.kind.name}-{life.variant}.safetensors"


def _outputs(life: Life, folder: Path) -> Path:
    return folder / f"{life.kind.name}-{life.variant}.pt"
