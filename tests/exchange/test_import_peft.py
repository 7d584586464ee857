"""peft -> here: what peft trained and saved computes the same when it is attached."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import nn

from tests.exchange.peft_methods import METHODS, lora
from tests.exchange.peft_side import (
    FAMILIES,
    assert_same_outputs,
    base_model,
    both_targets,
    loaded_in_peft,
    outputs,
    trained_in_peft,
)
from variants import AdapterError, Attachment, attachments, detach, export_peft, import_peft, load, save


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_same_outputs(method: str, family: str, tmp_path: Path) -> None:
    """Otherwise an adapter trained in peft would do something else here, without a word."""
    variants, make = METHODS[method]
    base = base_model(family)
    want = trained_in_peft(base, make(family), tmp_path / "peft")
    model = copy.deepcopy(base)
    placed = import_peft(model, tmp_path / "peft")
    assert tuple(each.variant.name for each in placed) == variants
    assert_same_outputs(model, want, base)


@pytest.mark.parametrize("method", METHODS)
def test_life_after_import(method: str, tmp_path: Path) -> None:
    """Otherwise an imported adapter could not be saved and loaded here, or not be taken off, or would change on its
    way back to peft.
    """
    base = base_model("llama")
    trained_in_peft(base, METHODS[method][1]("llama"), tmp_path / "peft")
    model = copy.deepcopy(base)
    placed = import_peft(model, tmp_path / "peft", name="mine")
    there = outputs(model)
    names = [each.name for each in placed]
    assert names == ["mine", "mine_ff"][: len(placed)]
    export_peft(model, tmp_path / "again", names)
    back, was = (load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("again", "peft"))
    assert back.keys() == was.keys()
    assert all(torch.equal(back[key], was[key]) for key in was)
    again = import_peft(copy.deepcopy(base), tmp_path / "again")
    assert [configs(each) for each in again] == [configs(each) for each in placed]
    for name in names:
        save(model, tmp_path / name, name)
    detach(model)
    assert torch.equal(outputs(model), outputs(base))
    for name in names:
        load(model, tmp_path / name)
    assert torch.equal(outputs(model), there)


def configs(attachment: Attachment) -> dict[str, Any]:
    """The config of each layer."""
    return {target: adapter.config for target, adapter in attachment.layers.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_pissa(family: str, tmp_path: Path) -> None:
    """Otherwise A and B would act beside another residual than the one that peft trained them beside."""
    base = base_model(family, torch.float32)
    options: dict[str, Any] = {
        "init_lora_weights": "pissa",
        "use_rslora": True,
        "rank_pattern": {both_targets(family)[0]: 2},
    }
    want = trained_in_peft(base, lora(family, **options), tmp_path)
    model = copy.deepcopy(base)
    (attachment,) = import_peft(model, tmp_path)
    assert attachment.variant.name == "pissa"
    assert_same_outputs(model, want, base)
    assert_same_outputs(model, loaded_in_peft(base, tmp_path), base)
    detach(model)
    assert torch.equal(outputs(model), outputs(base))


def test_pissa_beside_a_bfloat16_base(tmp_path: Path) -> None:
    """Otherwise the residual, which is rounded to bfloat16, would be another one than peft's."""
    base = base_model("llama", torch.float32).to(torch.bfloat16)
    want = trained_in_peft(base, lora("llama", init_lora_weights="pissa"), tmp_path)
    model = copy.deepcopy(base)
    (attachment,) = import_peft(model, tmp_path)
    theirs = want.get_base_model()  # type: ignore[operator]
    for target in attachment.layers:
        ours = model.get_submodule(target).get_parameter("weight")
        other = theirs.get_submodule(target).get_parameter("base_layer.weight")
        assert not torch.equal(ours, base.get_submodule(target).get_parameter("weight"))
        # A float32 decomposition differs in its last bits from call to call, and a tie may then round the other way.
        assert (ours == other).float().mean() > 0.99


def test_exclude_and_regular_expressions(tmp_path: Path) -> None:
    """Otherwise a peft config by pattern would reach other layers here than in peft."""
    base = base_model("llama")
    choices: list[dict[str, Any]] = [
        {"target_modules": r".*layers\.1\..*(q|down)_proj"},
        {"target_modules": both_targets("llama"), "exclude_modules": ["model.layers.0.self_attn.q_proj"]},
        {"target_modules": both_targets("llama"), "exclude_modules": r".*\.0\..*"},
        {"target_modules": both_targets("llama"), "layers_to_transform": 1, "layers_pattern": "layers"},
        {"target_modules": ["model.layers.0.mlp.down_proj", "q_proj"], "layers_to_transform": [1]},
    ]
    counts = []
    for number, choice in enumerate(choices):
        want = trained_in_peft(base, lora("llama", **choice), tmp_path / str(number))
        model = copy.deepcopy(base)
        (attachment,) = import_peft(model, tmp_path / str(number))
        counts.append(len(attachment.layers))
        assert_same_outputs(model, want, base)
    assert counts == [2, 5, 3, 3, 2]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_all_linear_as_written(family: str, tmp_path: Path) -> None:
    """peft replaces the word by names when it saves; a config written by hand may still hold it. A head is left out."""
    base = base_model(family)
    want = trained_in_peft(base, lora(family, target_modules="all-linear"), tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    assert fields["target_modules"] != "all-linear"
    (tmp_path / "adapter_config.json").write_text(json.dumps({**fields, "target_modules": "all-linear"}))
    model = copy.deepcopy(base)
    import_peft(model, tmp_path)
    assert_same_outputs(model, want, base)


def test_all_linear_layers_of_a_classifier(tmp_path: Path) -> None:
    """For this task alone, peft leaves the classifier's head out of all linear layers."""
    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "pad_token_id": 0}
    config = hf.LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=4, num_labels=3)
    base = hf.LlamaForSequenceClassification(config).double().eval()
    want = trained_in_peft(base, peft.LoraConfig(r=2, target_modules=r".*_proj"), tmp_path)
    fields = {**json.loads((tmp_path / "adapter_config.json").read_text()), "target_modules": "all-linear"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(fields))
    with pytest.raises(AdapterError, match=r"2 missing \(base_model\.model\.score\.lora_A"):
        import_peft(copy.deepcopy(base), tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({**fields, "task_type": "SEQ_CLS"}))
    model = copy.deepcopy(base)
    import_peft(model, tmp_path)
    assert_same_outputs(model, want, base)


def test_output_head(tmp_path: Path) -> None:
    """peft adds the head's own weight to the file; a copy of the base's is no reason to refuse."""
    base = base_model("llama")
    want = trained_in_peft(base, lora("llama", target_modules=["lm_head", "q_proj"]), tmp_path)
    assert "base_model.model.lm_head.base_layer.weight" in load_file(tmp_path / "adapter_model.safetensors")
    model = copy.deepcopy(base)
    import_peft(model, tmp_path)
    assert_same_outputs(model, want, base)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "delora", "road_4"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_half_precision(method: str, stored: torch.dtype, tmp_path: Path) -> None:
    """Otherwise an adapter beside a bfloat16 base, or stored in bfloat16, would be rounded on its way in."""
    base = base_model("llama", torch.float32).to(torch.bfloat16)
    trained_in_peft(base, METHODS[method][1]("llama"), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: tensor.to(stored) for key, tensor in load_file(path).items()}, path, {"format": "pt"})
    want = loaded_in_peft(base, tmp_path)
    model = copy.deepcopy(base)
    placed = import_peft(model, tmp_path)
    assert {each.config.dtype for each in placed} == {"float32"}
    exact = copy.deepcopy(base).double()
    import_peft(exact, tmp_path)
    truth = outputs(exact)
    ours, theirs = ((outputs(each).double() - truth).norm().item() for each in (model, want))
    assert theirs < 0.5 * (outputs(base).double() - truth).norm().item()
    # Both round every layer's output to bfloat16, at other places of the formula.
    assert ours <= 1.5 * theirs


def test_float32_file_beside_a_float64_base(tmp_path: Path) -> None:
    """Otherwise the update would be computed in float32 beside peft's float64."""
    base = base_model("llama")
    trained_in_peft(base, METHODS["lora"][1]("llama"), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: tensor.float() for key, tensor in load_file(path).items()}, path, {"format": "pt"})
    model = copy.deepcopy(base)
    (attachment,) = import_peft(model, tmp_path)
    assert attachment.config.dtype == "float64"
    assert_same_outputs(model, loaded_in_peft(base, tmp_path), base)


def test_where_the_strength_of_each_layer_started(tmp_path: Path) -> None:
    """Otherwise a pattern of strengths would be lost, since what was trained is in the tensors anyway."""
    base = base_model("llama")
    trained_in_peft(base, METHODS["delora-patterns"][1]("llama"), tmp_path)
    (attachment,) = import_peft(base, tmp_path)
    started = {target: adapter.config.lam for target, adapter in attachment.layers.items()}  # type: ignore[attr-defined]
    assert {target.rpartition(".")[2]: lam for target, lam in started.items()} == {
        "q_proj": 4,
        "v_proj": 15,
        "down_proj": 15,
    }


def test_eva_after_its_start_from_data(tmp_path: Path) -> None:
    """Otherwise the ranks that peft moved between layers, and the layers it left out, would not be found again."""
    base = base_model("llama", torch.float32)
    with torch.random.fork_rng(devices=[]):
        batches = [{"input_ids": torch.randint(0, 32, (4, 12))} for _ in range(6)]
    config = lora("llama", r=2, init_lora_weights="eva", eva_config=peft.EvaConfig(rho=2.0, use_label_mask=False))
    wrapped = peft.get_peft_model(copy.deepcopy(base), config).eval()
    peft.initialize_lora_eva_weights(wrapped, batches, show_progress_bar=False)
    ranks = wrapped.peft_config["default"].rank_pattern
    assert len(set(ranks.values())) > 1
    with torch.no_grad():
        for key, parameter in wrapped.named_parameters():
            if "lora_B" in key:
                parameter.add_(0.3 * torch.randn_like(parameter))
    wrapped.save_pretrained(str(tmp_path))
    model = copy.deepcopy(base)
    (attachment,) = import_peft(model, tmp_path)
    assert attachment.variant.name == "eva"
    assert {adapter.config.r for adapter in attachment.layers.values()} >= set(ranks.values())  # type: ignore[attr-defined]
    assert_same_outputs(model, wrapped, base)


def test_beside_another_adapter(tmp_path: Path) -> None:
    """Otherwise an import would disturb an adapter that is there, or take its modules for its own."""
    base = base_model("llama")
    want = trained_in_peft(base, lora("llama", target_modules=["q_proj"]), tmp_path / "q")
    trained_in_peft(base, lora("llama", target_modules=["down_proj"]), tmp_path / "down")
    model = copy.deepcopy(base)
    import_peft(model, tmp_path / "down", name="down")
    import_peft(model, tmp_path / "q", name="q")
    assert list(attachments(model)) == ["down", "q"]
    detach(model, "down")
    assert_same_outputs(model, want, base)


def test_plain_module_with_names_that_end_alike(tmp_path: Path) -> None:
    """Otherwise ``0`` would also mean ``1.0``, or peft's rule for it would be missed."""
    base = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 4)).double()
    config = peft.LoraConfig(r=2, target_modules=["0"], exclude_modules="1.*", init_lora_weights=False)
    want = peft.get_peft_model(copy.deepcopy(base), config).eval()
    want.save_pretrained(str(tmp_path / "peft"))
    model = copy.deepcopy(base)
    (attachment,) = import_peft(model, tmp_path / "peft")
    assert list(attachment.layers) == ["0"]
    x = torch.randn(5, 6, dtype=torch.float64)
    assert torch.allclose(model(x), want(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(x), base(x))
    export_peft(model, tmp_path / "again")
    again = loaded_in_peft(base, tmp_path / "again")
    assert torch.allclose(again(x), want(x), rtol=1e-12, atol=1e-12)
    save(model, tmp_path / "file")
    detach(model)
    assert list(load(model, tmp_path / "file").layers) == ["0"]
