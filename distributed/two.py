"""Two processes over gloo: DistributedDataParallel, FSDP2, its checkpoints, and accelerate, beside a plain loop."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distributed import plain
from distributed.plain import gradients, model_of, optimiser_of, require_same, stepped, taught, trained
from learning import task
from learning.distributed import started
from learning.sides import NEEDS_DATA, config_of
from variants import AdapterError, attach, load, merge, save

WORLD, STEPS = 2, 3


def ddp(name: str, rank: int, folder: Path) -> None:
    """Gradients and a step on half of a batch each."""
    model = model_of(name)
    _one_step(name, model, DistributedDataParallel(model), rank)


def fsdp(name: str, rank: int, folder: Path) -> None:
    """Likewise, with every tensor of blocks and model in two shards."""
    model = sharded(model_of(name))
    _one_step(name, model, model, rank)


def _one_step(name: str, model: nn.Module, called: nn.Module, rank: int) -> None:
    optimiser = optimiser_of(name, model)
    found = gradients(called, *_part(0, rank))
    optimiser.step()
    want_gradients, want = stepped(name, 1)
    require_same(found, want_gradients, "gradient")
    require_same(trained(model), want, "tensor after a step")


def checkpoint(name: str, rank: int, folder: Path) -> None:
    """A sharded checkpoint of model and optimiser, on a model with other values: the next step, every bit."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    model = sharded(model_of(name))
    optimiser = optimiser_of(name, model)
    gradients(model, *_part(0, rank))
    optimiser.step()
    states: Any = get_state_dict(model, optimiser)
    dcp.save({"model": states[0], "optimiser": states[1]}, checkpoint_id=folder / name)
    other = sharded(_elsewhere(model_of(name)))
    fresh = optimiser_of(name, other)
    states = get_state_dict(other, fresh)
    found = {"model": states[0], "optimiser": states[1]}
    dcp.load(found, checkpoint_id=folder / name)
    set_state_dict(other, fresh, model_state_dict=found["model"], optim_state_dict=found["optimiser"])
    for each, steps in ((model, optimiser), (other, fresh)):
        steps.zero_grad()
        gradients(each, *_part(1, rank))
        steps.step()
    require_same(_everything(other), _everything(model), "after the checkpoint", limit=0.0)


def gathering(name: str, rank: int, folder: Path) -> None:
    """``save`` from shards, loaded onto the base in one process: the same tensors, every bit."""
    model = sharded(_elsewhere(started(name, taught())))
    path = folder / f"{name}.safetensors"
    save(model, path)
    want = trained(model)
    dist.barrier()
    torch.manual_seed(0)
    base = task.MODELS["Llama"]()
    load(base, path)
    require_same(trained(base), want, "loaded from the file", limit=0.0)


def merging(name: str, rank: int, folder: Path) -> None:
    """Merging shards; to be refused."""
    model = sharded(model_of(name))
    _refused(model, lambda: merge(model))


def attaching(name: str, rank: int, folder: Path) -> None:
    """An adapter on a model in shards; to be refused."""
    torch.manual_seed(0)
    model = sharded(task.MODELS["Llama"]())
    batches = [{"input_ids": part} for part in torch.split(taught().inputs, 16)]
    _refused(model, lambda: attach(model, config_of(name), calibration=batches if name in NEEDS_DATA else None))


def _refused(model: nn.Module, call: Callable[[], object]) -> None:
    """Raise what the call raises, after a look at whether it changed a tensor."""
    before = _everything(model)
    try:
        call()
    except AdapterError:
        require_same(_everything(model), before, "changed by a refusal", limit=0.0)
        raise


def _everything(model: nn.Module) -> plain.Tensors:
    return plain.whole(dict(model.named_parameters()))


def accelerated(name: str, rank: int, folder: Path) -> None:
    """Steps with everything prepared by accelerate; its saved state, on a model with other values, goes on the same."""
    from accelerate import Accelerator

    data = taught()
    rows = torch.utils.data.TensorDataset(data.inputs, data.targets)
    accelerator = Accelerator(cpu=True)
    if accelerator.num_processes != WORLD:
        raise plain.Wrong(f"accelerate sees {accelerator.num_processes} processes")

    def prepared(model: nn.Module) -> tuple[Any, ...]:
        loader = torch.utils.data.DataLoader(rows, batch_size=data.size // WORLD, shuffle=False)
        return tuple(accelerator.prepare(model, optimiser_of(name, model), loader))

    def go_on(model: Any, optimiser: Any, batch: Any) -> None:
        optimiser.zero_grad()
        accelerator.backward(task.loss(model, *batch))
        optimiser.step()

    inner = model_of(name)
    model, optimiser, loader = prepared(inner)
    batches = [batch for batch, _ in zip(loader, range(STEPS + 1), strict=False)]
    for batch in batches[:STEPS]:
        go_on(model, optimiser, batch)
    require_same(trained(inner), stepped(name, STEPS)[1], f"tensor after {STEPS} steps")
    accelerator.save_state(str(folder / f"{name}-state"))
    accelerator.free_memory()
    inner_again = _elsewhere(model_of(name))
    again, other, _ = prepared(inner_again)
    accelerator.load_state(str(folder / f"{name}-state"))
    go_on(again, other, batches[STEPS])
    accelerator.free_memory()
    require_same(trained(inner_again), stepped(name, STEPS + 1)[1], "after its checkpoint")


WAYS: dict[str, Callable[[str, int, Path], None]] = {
    "DDP": ddp,
    "FSDP2": fsdp,
    "sharded checkpoint": checkpoint,
    "save from shards": gathering,
    "accelerate": accelerated,
    "attach to shards": attaching,
    "merge shards": merging,
}


def sharded(model: Any) -> Any:
    """In two shards, block by block."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (WORLD,))
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _elsewhere(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(0.5).add_(0.01)
    return model


def _part(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = (each.chunk(WORLD)[rank] for each in taught().batch(step))
    return inputs, targets


def answers(names: Sequence[str], ways: Sequence[str] = tuple(WAYS)) -> dict[tuple[str, str], str]:
    """By variant and way: ``same``, ``refuses: why`` or ``fails: why``, the first that is not ``same`` of the two."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_worker, args=(tuple(names), tuple(ways), folder), nprocs=WORLD)  # type: ignore[no-untyped-call]
        parts: list[dict[tuple[str, str], str]] = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]
    return {key: next((part[key] for part in parts if part[key] != "same"), "same") for key in parts[0]}


def _worker(rank: int, names: tuple[str, ...], ways: tuple[str, ...], folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # accelerate reads them; the address is not used, for the group is there.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    found = {(name, way): plain.answer(WAYS[way], name, rank, Path(folder)) for name in names for way in ways}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
