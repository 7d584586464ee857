"""FSDP2 with two processes: the adapter is trained sharded, saved whole, and merging is refused."""

from __future__ import annotations

import copy
import traceback
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from tests.runtime.models import Mlp, move, small_config
from variants import AdapterError, attach, load, merge, save

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


SOME = ("lora", "dora", "pissa", "antipasto")


def process(rank: int, folder: str) -> None:
    """One of two; what goes wrong is written down."""
    try:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
        for name in SOME:
            _life(rank, Path(folder), name)
        torch.distributed.destroy_process_group()
        (Path(folder) / f"done-{rank}").touch()
    except BaseException:
        (Path(folder) / f"error-{rank}").write_text(traceback.format_exc())


def _life(rank: int, folder: Path, name: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = Mlp().eval()
    base = copy.deepcopy(model)
    attach(model, small_config(name))
    torch.manual_seed(2)
    move(model)
    plain = copy.deepcopy(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    torch.testing.assert_close(model(X), plain(X))
    save(model, folder / "sharded.safetensors")
    torch.distributed.barrier()
    save(plain, folder / f"plain-{rank}.safetensors")
    assert (folder / "sharded.safetensors").read_bytes() == (folder / f"plain-{rank}.safetensors").read_bytes()
    load(base, folder / "sharded.safetensors")
    assert torch.equal(base(X), plain(X))
    with pytest.raises(AdapterError, match=r"merge at up: got a weight that is sharded over processes \(FSDP2\)"):
        merge(model)
    torch.distributed.barrier()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """Otherwise each process would write its half, or ``save`` and ``merge`` fail with an error from deep inside."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    errors = "\n".join(path.read_text() for path in sorted(tmp_path.glob("error-*")))
    assert not errors, errors
    assert len(list(tmp_path.glob("done-*"))) == 2
