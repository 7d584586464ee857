"""What is written of an adapted model: the base as it was, or merged weights, and never W_res in its place."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from tests.runtime.models import IDS, NAMES, Mlp, Quantised, gpt2, hidden, llama, move, refused, small_config, snapshot
from variants import (
    IA3Config,
    LoRAConfig,
    PiSSAConfig,
    Targets,
    attach,
    attachments,
    by_name,
    detach,
    merge,
    merge_and_detach,
    unmerge,
)
from variants.runtime.adapter import Adapter

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
REPLACING = tuple(name for name in NAMES if by_name(name).residual is not Adapter.residual)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Through a file in memory."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    back: dict[str, Tensor] = torch.load(file)
    return back


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", [Mlp, gpt2])
def test_state_dict_has_the_base(build: Any, name: str) -> None:
    """Otherwise ``torch.save(model.state_dict())`` would write W_res as the base, under the base's key."""
    model = build()
    before = copied(model.state_dict())
    attach(model, small_config(name))
    move(model)
    state = model.state_dict()
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert {key.partition(".adapter.")[1] for key in state.keys() - before.keys()} == {".adapter."}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("build", [Mlp, gpt2])
def test_state_dict_comes_back(build: Any, assign: bool, name: str) -> None:
    """Otherwise a resumed training would go on beside another W_res, or a detach give another base."""
    model = build().eval()
    before = copied(model.state_dict())
    attach(model, small_config(name))
    move(model)
    state = copied(model.state_dict())
    twin = build().eval()
    attach(twin, small_config(name))
    answer = twin.load_state_dict(state, assign=assign)
    assert not answer.missing_keys + answer.unexpected_keys
    x = IDS if build is gpt2 else X
    same = [model(x)[0], twin(x)[0]]
    assert torch.equal(*same)
    again = twin.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    detach(twin)
    assert all(torch.equal(t, before[key]) for key, t in twin.state_dict().items())


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("name", REPLACING)
def test_a_base_is_loaded_as_a_base(name: str, assign: bool) -> None:
    """Otherwise weights that are loaded into an adapted model would be taken for W_res."""
    model, other = Mlp(), Mlp()
    state, before = copied(other.state_dict()), copied(model.state_dict())
    attachment = attach(model, small_config(name))
    taken = before["up.weight"] - model.up.weight.detach()
    answer = model.load_state_dict(state, assign=assign, strict=False)
    assert {key.partition(".adapter.")[1] for key in answer.missing_keys} == {".adapter."}
    fresh = attachment.layers["up"].residual(other.up.weight.detach())
    assert fresh is not None
    assert torch.equal(model.up.weight, fresh)
    # The factors are the old ones, so the same part is taken out of the new weight.
    torch.testing.assert_close(other.up.weight.detach() - model.up.weight.detach(), taken, rtol=0, atol=1e-6)
    detach(model)
    assert torch.equal(model(X), other(X))
    assert all(torch.equal(t, state[key]) for key, t in other.state_dict().items())


@pytest.mark.parametrize("name", ["lora", *REPLACING])
def test_save_pretrained_writes_the_base(name: str, tmp_path: Path) -> None:
    """Otherwise what transformers loads from there would be another model, and hardly say so."""
    model: Any = llama().eval()
    before = hidden(model)
    attach(model, small_config(name))
    move(model)
    model.save_pretrained(tmp_path / "adapted")
    assert torch.equal(hidden(hf.LlamaForCausalLM.from_pretrained(tmp_path / "adapted").eval()), before)
    merge(model)
    merged = hidden(model)
    model.save_pretrained(tmp_path / "merged")
    loaded, told = hf.LlamaForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not told["unexpected_keys"]
    assert torch.equal(hidden(loaded.eval()), merged)


def trainer(model: nn.Module, folder: Path) -> Any:
    """Four steps on fixed sentences, with a checkpoint after two."""
    data = [{"input_ids": ids, "labels": ids} for ids in (IDS, IDS.flip(0), IDS.flip(1), IDS + 1) for ids in ids]
    options: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True}
    arguments = hf.TrainingArguments(str(folder), **options, report_to=[], disable_tqdm=True, learning_rate=1e-2)
    return hf.Trainer(model, arguments, train_dataset=data)


@pytest.mark.parametrize("name", ["lora", "pissa", "antipasto"])
def test_checkpoints_of_trainer(name: str, tmp_path: Path) -> None:
    """Otherwise a checkpoint would hold W_res as the base, or training would not go on from it as if never stopped."""
    model = llama()
    base = copy.deepcopy(model)
    attach(model, small_config(name))
    resumed = copy.deepcopy(base)
    attach(resumed, small_config(name))
    trainer(model, tmp_path).train()
    saved: Any = hf.LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert all(torch.equal(t, saved.state_dict()[key]) for key, t in base.state_dict().items())
    trainer(resumed, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert (hidden(model) - hidden(base)).abs().max() > 1e-4
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], tensor)


@pytest.mark.parametrize("name", NAMES)
def test_merged_weights_are_written_alone(name: str) -> None:
    """Otherwise a merged model would be written with tensors of an adapter that is part of its weights already."""
    model = Mlp()
    before = model.state_dict().keys()
    attach(model, small_config(name))
    move(model)
    apart = copied(model.state_dict())
    merge(model)
    state = copied(model.state_dict())
    assert state.keys() == before
    plain = Mlp()
    plain.load_state_dict(state)
    assert torch.equal(plain(X), model(X))
    unmerge(model)
    assert all(torch.equal(t, apart[key]) for key, t in model.state_dict().items())


@pytest.mark.parametrize("copier", ["deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["lora", "pissa"])
def test_copies_write_the_base_too(copier: str, name: str) -> None:
    """Otherwise a copied or pickled model would write W_res, or write another model's base."""
    model = Mlp()
    attach(model, small_config(name))
    move(model)
    if copier == "deepcopy":
        twin = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    want = copied(model.state_dict())
    assert all(torch.equal(t, want[key]) for key, t in twin.state_dict().items())
    assert twin.state_dict().keys() == want.keys()
    merge(twin)
    assert torch.equal(model.state_dict()["up.weight"], want["up.weight"])
    assert "up.adapter.A" in model.state_dict()
    detach(twin)
    assert twin.state_dict().keys() == Mlp().state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("merged", [True, False])
def test_merge_and_detach(merged: bool, name: str) -> None:
    """Otherwise what is deployed would carry adapters along, compute something else, or stay frozen."""
    model = llama().eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 > 0)
    before = snapshot(model)
    attach(model, small_config(name))
    move(model)
    merge(model)
    want = hidden(model)
    if not merged:
        unmerge(model)
    assert merge_and_detach(model) is model
    assert torch.equal(hidden(model), want)
    after = snapshot(model)
    for part in ("tensors", "requires_grad", "modules", "hooks", "attributes"):
        assert after[part] == before[part], part
    assert not attachments(model)
    assert not [m for m in model.modules() if m._state_dict_hooks or m._load_state_dict_pre_hooks]
    attach(model, small_config(name))  # a base like any other


def test_merge_and_detach_one_of_two() -> None:
    """Otherwise the other adapter would go, or be made part of the weights as well."""
    model = Mlp()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("up",))))
    attach(model, PiSSAConfig(r=2, targets=Targets(include=("down",))))
    move(model)
    want = model(X)
    merge_and_detach(model, "lora")
    assert list(attachments(model)) == ["pissa"]
    assert not model.up.weight.requires_grad
    torch.testing.assert_close(model(X), want)
    merge_and_detach(model)
    torch.testing.assert_close(model(X), want)
    assert model.state_dict().keys() == Mlp().state_dict().keys()


def test_merge_and_detach_all_or_nothing() -> None:
    """Otherwise a second adapter that cannot be merged would leave the first one in the weights for good."""
    model = nn.Sequential(nn.Linear(6, 6), Quantised(6, 6))
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",))))
    attach(model, IA3Config(targets=Targets(include=("1",))))
    move(model)
    with refused(model, "merge at 1: got Quantised"):
        merge_and_detach(model)
    with refused(model, "merge_and_detach: got 'dora'; want one of 'lora', 'ia3'"):
        merge_and_detach(model, "dora")
    with refused(Mlp(), "merge_and_detach: this model has no adapter. Call attach"):
        merge_and_detach(Mlp())
