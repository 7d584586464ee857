"""Here -> peft: ``PeftModel.from_pretrained`` computes what the exported adapter does."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.exchange.peft_side import (
    FAMILIES,
    as_targets,
    assert_same_outputs,
    base_model,
    both_targets,
    loaded_in_peft,
    move,
    outputs,
    trained_in_peft,
)
from variants import (
    AdapterError,
    DeLoRAConfig,
    DoRAConfig,
    EVAConfig,
    HRAConfig,
    IA3Config,
    IA3FFConfig,
    LoRAConfig,
    PiSSAConfig,
    ROADConfig,
    Targets,
    attach,
    export_peft,
    import_peft,
    merge,
)
from variants.lora import LoRA
from variants.runtime.config import AdapterConfig

CONFIGS: dict[str, tuple[Callable[..., AdapterConfig], dict[str, Any]]] = {
    "lora": (LoRAConfig, {"r": 3, "alpha": 7}),
    "lora-rslora-gaussian": (LoRAConfig, {"r": 3, "alpha": 7.5, "rslora": True, "init": "gaussian", "dropout": 0.2}),
    "dora": (DoRAConfig, {"r": 3, "alpha": 5, "rslora": True}),
    "pissa": (PiSSAConfig, {"r": 3, "alpha": 7}),
    "pissa-rslora-niter": (PiSSAConfig, {"r": 3, "alpha": 7, "rslora": True, "niter": 1}),
    "ia3": (IA3Config, {}),
    "ia3_ff": (IA3FFConfig, {}),
    "hra": (HRAConfig, {"r": 4}),
    "hra-gram-schmidt": (HRAConfig, {"r": 3, "gram_schmidt": True}),
    "delora": (DeLoRAConfig, {"r": 3, "lam": 6.5, "dropout": 0.1}),
    **{kind: (ROADConfig, {"kind": kind, "group_size": 4}) for kind in ("road_1", "road_2", "road_4")},
}


def attached(family: str, method: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module]:
    """A base, and a copy of it with a trained adapter."""
    base = base_model(family, dtype)
    model = copy.deepcopy(base)
    make, options = CONFIGS[method]
    move(attach(model, make(targets=as_targets(both_targets(family)), dtype=dtype, **options)))
    return base, model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", CONFIGS)
def test_same_outputs(method: str, family: str, tmp_path: Path) -> None:
    """Otherwise an adapter trained here would do something else in peft, without a word."""
    base, model = attached(family, method)
    before = outputs(model)
    export_peft(model, tmp_path / "out")
    assert torch.equal(outputs(model), before)
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["adapter_config.json", "adapter_model.safetensors"]
    assert_same_outputs(loaded_in_peft(base, tmp_path / "out"), model, base)


@pytest.mark.parametrize("method", CONFIGS)
def test_float32(method: str, tmp_path: Path) -> None:
    """Otherwise only float64, in which nobody trains, would survive the way."""
    base, model = attached("llama", method, torch.float32)
    export_peft(model, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.float32}
    assert_same_outputs(loaded_in_peft(base, tmp_path), model, base)


@pytest.mark.parametrize("method", [method for method in CONFIGS if not method.startswith("pissa")])
def test_back_again(method: str, tmp_path: Path) -> None:
    """Otherwise an option or a tensor would be lost on the way out."""
    base, model = attached("llama", method)
    export_peft(model, tmp_path)
    back = copy.deepcopy(base)
    (now,) = import_peft(back, tmp_path)
    (was,) = model.__dict__["_attached_adapters"].attachments.values()
    assert now.variant is was.variant
    assert {**vars(now.config), "targets": None} == {**vars(was.config), "targets": None}
    assert tensors_of(now).keys() == tensors_of(was).keys()
    assert all(torch.equal(tensors_of(now)[key], tensors_of(was)[key]) for key in tensors_of(was))
    assert torch.equal(outputs(back), outputs(model))


def tensors_of(attachment: Any) -> dict[str, Tensor]:
    """Every tensor by layer and name."""
    found: dict[str, Tensor] = attachment.tensors()
    return found


def test_names_and_settings_are_those_that_peft_writes(tmp_path: Path) -> None:
    """Otherwise other readers of peft's files would not find a tensor or a setting under its name."""
    base = base_model("llama")
    theirs: dict[str, peft.PeftConfig] = {
        "lora": peft.LoraConfig(r=3, lora_alpha=7, target_modules=both_targets("llama")),
        "dora": peft.LoraConfig(
            r=3, lora_alpha=5, use_rslora=True, use_dora=True, target_modules=both_targets("llama")
        ),
        "ia3_ff": peft.IA3Config(target_modules=both_targets("llama"), feedforward_modules=both_targets("llama")),
        "hra": peft.HRAConfig(r=4, target_modules=both_targets("llama")),
        "delora": peft.DeloraConfig(r=3, delora_lambda=6.5, module_dropout=0.1, target_modules=both_targets("llama")),  # type: ignore[arg-type]
        "road_4": peft.RoadConfig(variant="road_4", group_size=4, target_modules=both_targets("llama")),
    }
    for method, config in theirs.items():
        trained_in_peft(base, config, tmp_path / "theirs")
        export_peft(attached("llama", method)[1], tmp_path / "ours")
        ours, want = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("ours", "theirs"))
        assert {key: (t.shape, t.dtype) for key, t in ours.items()} == {k: (t.shape, t.dtype) for k, t in want.items()}
        ours_set, want_set = (
            json.loads((tmp_path / each / "adapter_config.json").read_text()) for each in ("ours", "theirs")
        )
        assert set(ours_set) <= set(want_set)
        for key, value in ours_set.items():
            other = want_set[key]
            assert (sorted(value) == sorted(other)) if isinstance(value, list) else value == other, key


def test_pissa_is_a_lora_of_twice_the_rank(tmp_path: Path) -> None:
    """Otherwise peft would decompose the base again, and A and B would act beside another residual."""
    base, model = attached("llama", "pissa-rslora-niter")
    export_peft(model, tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (fields["r"], fields["init_lora_weights"], fields["use_rslora"]) == (6, True, False)
    back = copy.deepcopy(base)
    (attachment,) = import_peft(back, tmp_path)
    assert attachment.variant is LoRA
    assert_same_outputs(back, model, base)


def test_pissa_of_a_bfloat16_base_loses_the_rounding_of_its_residual_only(tmp_path: Path) -> None:
    """Otherwise the docstring would promise less, or more, than the conversion does."""
    base = base_model("llama", torch.float32).to(torch.bfloat16)
    model = copy.deepcopy(base)
    attachment = attach(model, PiSSAConfig(r=3, alpha=7, targets=as_targets(both_targets("llama"))))
    move(attachment)
    export_peft(model, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    for target, adapter in attachment.layers.items():
        layer = model.get_submodule(target)
        A, B = (tensors[f"base_model.model.{target}.lora_{name}.weight"].double() for name in "AB")
        W_exported = base.get_submodule(target).weight.double() + adapter.config.scale * B @ A  # type: ignore[operator, attr-defined]
        residual = layer.weight.double()  # type: ignore[operator]
        W_here = residual + adapter.config.scale * adapter.B.double() @ adapter.A.double()  # type: ignore[attr-defined, operator]
        half_a_spacing = 0.5 * torch.finfo(torch.bfloat16).eps * residual.abs()
        assert ((W_exported - W_here).abs() <= 1.01 * half_a_spacing + 1e-6).all()
        assert ((W_exported - W_here).abs() > 1e-5).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_ia3_pair_is_one_adapter(family: str, tmp_path: Path) -> None:
    """Otherwise the two passes of IA3 would need two folders, and peft would apply one of them."""
    base = base_model(family)
    model = copy.deepcopy(base)
    _, attention, feedforward = FAMILIES[family]
    for make, names in ((IA3FFConfig, feedforward), (IA3Config, attention)):
        move(attach(model, make(targets=as_targets(names), dtype="float64")))
    export_peft(model, tmp_path, ["ia3_ff", "ia3"])
    assert_same_outputs(loaded_in_peft(base, tmp_path), model, base)
    back = copy.deepcopy(base)
    assert [each.name for each in import_peft(back, tmp_path)] == ["ia3", "ia3_ff"]
    assert torch.equal(outputs(back), outputs(model))
    with pytest.raises(AdapterError, match="has 2 adapters: 'ia3_ff', 'ia3'"):
        export_peft(model, tmp_path)
    with pytest.raises(AdapterError, match="different names"):
        export_peft(model, tmp_path, ["ia3", "ia3"])


def test_ia3_whose_names_end_alike(tmp_path: Path) -> None:
    """peft takes ``xup`` for feed-forward where ``up`` is; then the names must be spelt out."""
    base = nn.ModuleDict({"up": nn.Linear(4, 6), "xup": nn.Linear(6, 6), "end": nn.Linear(6, 4)}).double()
    model = copy.deepcopy(base)
    for make, target in ((IA3Config, "xup"), (IA3FFConfig, "up")):
        move(attach(model, make(targets=Targets(include=(target,)), dtype="float64")))
    export_peft(model, tmp_path, ["ia3", "ia3_ff"])
    wrapped = loaded_in_peft(base, tmp_path).get_base_model()  # type: ignore[operator]
    for key, size in (("up", 4), ("xup", 6), ("end", 6)):
        x = torch.randn(3, size, dtype=torch.float64)
        assert torch.allclose(wrapped[key](x), model[key](x), rtol=1e-12, atol=1e-12)
        assert torch.allclose(model[key](x), base[key](x)) == (key == "end")


def test_eva_with_ranks_per_layer(tmp_path: Path) -> None:
    """Otherwise peft would build every layer with one rank, or put adapters where EVA left them out."""
    base = base_model("llama")
    model = copy.deepcopy(base)
    batches = [{"input_ids": torch.randint(0, 32, (4, 12))} for _ in range(4)]
    config = EVAConfig(r=2, alpha=5, rho=4.0, targets=as_targets(both_targets("llama")), dtype="float64")
    attachment = attach(model, config, calibration=batches)
    move(attachment)
    assert len({adapter.config.r for adapter in attachment.layers.values()}) > 1  # type: ignore[attr-defined]
    export_peft(model, tmp_path)
    assert_same_outputs(loaded_in_peft(base, tmp_path), model, base)
    back = copy.deepcopy(base)
    (now,) = import_peft(back, tmp_path)
    assert {t: a.config for t, a in now.layers.items()} == {
        t: vary(a.config, now.config.targets) for t, a in attachment.layers.items()
    }
    assert torch.equal(outputs(back), outputs(model))


def vary(config: Any, targets: Targets) -> Any:
    """The config with targets as they are named after the way."""
    return dataclasses.replace(config, targets=targets)


def test_only_some_layers(tmp_path: Path) -> None:
    """Otherwise peft would adapt every layer of a name where only one was chosen."""
    base = base_model("llama")
    model = copy.deepcopy(base)
    move(attach(model, LoRAConfig(r=2, targets=Targets(include=("q_proj", "o_proj"), layers=(1,)), dtype="float64")))
    export_peft(model, tmp_path)
    wrapped = loaded_in_peft(base, tmp_path)
    assert sum(1 for key, _ in wrapped.named_modules() if key.endswith("lora_A")) == 2
    assert_same_outputs(wrapped, model, base)


def test_merged_adapter(tmp_path: Path) -> None:
    """Otherwise an adapter could not be given to peft while it is merged, or would count twice."""
    base, model = attached("llama", "dora")
    merge(model)
    export_peft(model, tmp_path)
    assert_same_outputs(loaded_in_peft(base, tmp_path), model, base)
