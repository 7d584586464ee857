"""Several processes and Trainer: what the page says holds, and another result would show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

from distributed import plain, table, trainer, two
from distributed.plain import Wrong, model_of, require_same, stepped, trained
from learning.rates import RATES
from subjects.own.roster import ENTRIES
from variants import AdapterError, LoRAConfig, attach, attachments

PAGE = Path(__file__).parents[2] / "reports" / "distributed.md"
NAMES = tuple(RATES)


@pytest.mark.parametrize("name", NAMES)
def test_torch_finds_every_key_of_a_checkpoint(name: str) -> None:
    """A sharded checkpoint could not be written: torch looks up the path of each key."""
    model = model_of(name)
    states = get_model_state_dict(model)
    assert states.keys() == model.state_dict().keys()
    other = model_of(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    set_model_state_dict(other, states)
    for key, tensor in other.state_dict().items():
        assert torch.equal(tensor, states[key]), key


@pytest.mark.parametrize("name", ["pissa"])
def test_trainer_takes_the_steps_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    """A user of Trainer would train something else, or lose what was trained at a restart."""
    for way, call in trainer.WAYS.items():
        call(name, tmp_path / way)


def test_a_model_in_shards_is_refused(tmp_path: Path) -> None:
    """Each process would put an adapter on its half of a weight, or an error would come from deep inside."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        model = torch.nn.Sequential(torch.nn.Linear(4, 4))
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(AdapterError, match=r"attach to 0: got a weight that is sharded .* afterwards"):
            attach(model, LoRAConfig(r=1))
        assert not attachments(model)
    finally:
        torch.distributed.destroy_process_group()


def test_another_run_shows() -> None:
    """Two runs would be called the same, whatever they are."""
    gradients, after = stepped("lora", 1)
    start = trained(model_of("lora"))
    require_same(after, after, "x", limit=0.0)
    for other, want in ((start, after), (stepped("lora", 2)[1], after), ({}, after)):
        with pytest.raises(Wrong, match="tensor"):
            require_same(other, want, "tensor")
    nan = {key: t * float("nan") for key, t in after.items()}
    with pytest.raises(Wrong):
        require_same(nan, after, "tensor")
    assert all(t.abs().max() > 0 for t in gradients.values())


def test_what_comes_of_a_way_is_said() -> None:
    """One way that fails would end the whole run, or read like a refusal."""

    def way(error: Exception) -> None:
        raise error

    refusal = AdapterError(got="a", want="b", where="c", fix="d")
    assert plain.answer(way, refusal) == "refuses: got a; want b"
    assert plain.answer(way, Wrong("x")) == "fails: x"
    assert plain.answer(way, KeyError()) == "fails: KeyError: "
    assert plain.answer(print) == "same"
    cells = {("lora", "DDP"): "same", ("lora", "merge shards"): "refuses: why"}
    assert table.failed(cells) == []
    assert "| lora | same | refuses (1) |\n\n1. why\n" in table.render(cells)
    assert table.failed({("lora", "DDP"): "refuses: why", ("lora", "merge shards"): "same"}) != []


def test_the_committed_page_has_every_cell() -> None:
    """A variant would be missing, or a failure committed as a matter of course."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(table.HEAD)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if " same | " in line]
    assert {row[0] for row in rows} == {entry.name for entry in ENTRIES}
    ways = len(two.WAYS) + len(trainer.WAYS)
    assert all(row[1:] == ["same"] * (ways - 2) + ["refuses (1)"] * 2 for row in rows)


@pytest.mark.slow
def test_two_processes() -> None:
    """A variant would train on several devices into something else."""
    ways = ("FSDP2", "sharded checkpoint", "accelerate", "attach to shards")
    assert table.failed(two.answers(("antipasto_rot",), ways)) == []
