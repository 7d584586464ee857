"""A saved adapter comes back as it was, on the base it was saved with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.runtime.models import LANGUAGE_MODELS, NAMES, Mlp, hidden, llama, move, refused, small_config, snapshot
from variants import AdapterError, HRAConfig, IA3Config, IA3FFConfig, LoRAConfig, Targets, attach, attachments, detach
from variants import load as load_adapter
from variants import save as save_adapter
from variants.runtime.adapter import Adapter
from variants.runtime.fingerprint import fingerprint
from variants.runtime.spec import TensorSpec

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to save."""
    return tmp_path / "adapter.safetensors"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", LANGUAGE_MODELS)
def test_loaded_adapter_computes_the_same(build: Callable[[], nn.Module], name: str, path: Path) -> None:
    """Otherwise what was trained is not what comes back."""
    model = build().eval()
    fresh = copy.deepcopy(model)
    saved = attach(model, small_config(name))
    move(model)
    save_adapter(model, path)
    loaded = load_adapter(fresh, path)
    assert torch.equal(hidden(fresh), hidden(model))
    assert snapshot(fresh) == snapshot(model)
    assert (loaded.name, loaded.variant, loaded.config) == (saved.name, saved.variant, saved.config)
    assert loaded.fingerprints == saved.fingerprints


@pytest.mark.parametrize(
    "config",
    [
        LoRAConfig(r=3, alpha=7.5, rslora=True, init="gaussian", dropout=0.25, dtype="float64"),
        LoRAConfig(r=2, dtype="bfloat16", targets=Targets(layers=(-1,), roles=("reader",), exclude=("gate_proj",))),
        HRAConfig(r=3, gram_schmidt=True, targets=Targets(include=("*.self_attn.?_proj",))),
    ],
)
def test_options_come_back(config: Any, path: Path) -> None:
    """Otherwise a scale, a dtype or a choice of targets would silently be the default after loading."""
    model = llama().eval()
    fresh = copy.deepcopy(model)
    attach(model, config)
    move(model)
    save_adapter(model, path)
    assert load_adapter(fresh, path).config == config
    assert torch.equal(hidden(fresh), hidden(model))


@pytest.mark.parametrize("order", [("gate", "ff"), ("ff", "gate")])
@pytest.mark.parametrize("detach_order", [("gate", "ff"), ("ff", "gate")])
def test_two_adapters_of_one_model(order: tuple[str, str], detach_order: tuple[str, str], tmp_path: Path) -> None:
    """Otherwise IA3's two passes could not be trained, saved, loaded and detached together."""
    model = llama()
    fresh = copy.deepcopy(model)
    for each in (model, fresh):
        each.get_submodule("model.norm").requires_grad_(False)
    before = snapshot(fresh)
    configs: dict[str, Any] = {
        "gate": IA3Config(targets=Targets(include=("k_proj", "v_proj"))),
        "ff": IA3FFConfig(targets=Targets(include=("down_proj",))),
    }
    both = [attach(model, configs[name], name=name) for name in order]
    optimiser = torch.optim.AdamW([p for each in both for p in each.parameters()], lr=0.1)
    hidden(model).square().sum().backward()
    optimiser.step()
    for name in order:
        save_adapter(model, tmp_path / name, name)
    for name in reversed(order):
        load_adapter(fresh, tmp_path / name)
    assert torch.equal(hidden(fresh), hidden(model))

    left, right = detach_order
    detach(fresh, left)
    detach(model, left)
    assert list(attachments(fresh)) == [right]
    assert torch.equal(hidden(fresh), hidden(model))
    detach(fresh, right)
    assert snapshot(fresh) == before


def test_load_under_another_name(path: Path) -> None:
    """Otherwise two files of one variant could not be on one model."""
    model = Mlp()
    fresh = copy.deepcopy(model)
    attach(model, small_config("lora"), name="first")
    save_adapter(model, path)
    assert load_adapter(fresh, path, name="second").name == "second"
    assert list(attachments(fresh)) == ["second"]
    detach(fresh)
    assert load_adapter(fresh, path).name == "first"


@pytest.mark.parametrize("name", NAMES)
def test_saved_in_eval_loads_in_train(name: str, path: Path) -> None:
    """Otherwise the mode at the time of saving would leak into the file, as when a merged state is saved in eval()."""
    model = Mlp()
    fresh = copy.deepcopy(model).train()
    attach(model, small_config(name))
    move(model)
    want = model(X)
    model.eval()
    save_adapter(model, path)
    load_adapter(fresh, path)
    assert torch.equal(fresh(X), want)
    assert {m.training for m in fresh.modules()} == {True}


@pytest.mark.parametrize("name", NAMES)
def test_loaded_adapter_trains(name: str, path: Path) -> None:
    """Otherwise training could not go on from a file."""
    model = Mlp()
    attach(model, small_config(name))
    move(model)
    save_adapter(model, path)
    detach(model)
    attachment = load_adapter(model, path)
    (model(X) * torch.randn(3, 6)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in attachment.parameters())
    assert {id(p) for p in attachment.parameters()} == {id(p) for p in model.parameters() if p.requires_grad}


def test_file_holds_values_not_memory(path: Path) -> None:
    """Otherwise a step after saving or loading would change the file's tensors, or fail on a read-only mapping."""
    model = Mlp()
    attach(model, small_config("lora"))
    save_adapter(model, path)
    written = path.read_bytes()
    detach(model)
    load_adapter(model, path)
    move(model)
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("name", "message"),
    [(None, "the model has 2 adapters: 'gate', 'ff'. Say which: name="), ("lora", "'lora'; want one of 'gate', 'ff'")],
)
def test_save_asks_which(name: str | None, message: str, path: Path) -> None:
    """Otherwise one of two adapters would be chosen in silence."""
    model = Mlp()
    attach(model, IA3Config(targets=Targets(include=("up",))), name="gate")
    attach(model, IA3FFConfig(targets=Targets(include=("down",))), name="ff")
    with refused(model, message):
        save_adapter(model, path, name)
    assert not path.exists()


def test_save_without_an_adapter(path: Path) -> None:
    """Otherwise an empty file would be written."""
    with pytest.raises(AdapterError, match=r"save: this model has no adapter\. Call attach\(model, config\) first\."):
        save_adapter(Mlp(), path)


def test_save_of_a_cast_adapter(path: Path) -> None:
    """Otherwise a file would be written that load refuses, and the trained values be found lost only then."""
    model = Mlp()
    attach(model, small_config("lora"))
    model.bfloat16()
    with refused(
        model, r"save .*: tensors: .*wrong in 4 of 4 .*, first down\.A: got .*bfloat16, want .*float32.* Cast"
    ):
        save_adapter(model, path)
    assert not path.exists()


def test_fingerprint_is_of_the_original_weight(path: Path) -> None:
    """Otherwise an adapter saved after its base was changed in place would claim the changed base as its own."""
    model = Mlp()
    fresh = copy.deepcopy(model)
    attach(model, small_config("lora"))
    with torch.no_grad():
        model.up.weight.mul_(2)
    save_adapter(model, path)
    load_adapter(fresh, path)


def test_fingerprint_sees_dtype_and_shape_but_not_layout() -> None:
    """Otherwise equal bytes of another meaning would pass for the same base, or a transposed copy for another one."""
    layer = nn.Linear(6, 10)
    plain = fingerprint(layer)
    W = layer.weight.detach()
    layer.weight = nn.Parameter(W.T.contiguous().T)
    assert fingerprint(layer) == plain
    for other in (W.view(torch.int32), W.reshape(6, 10), -W, W.double()):
        layer.weight = nn.Parameter(other, requires_grad=False)
        assert fingerprint(layer) != plain


class Doubled(Adapter):
    """A variant that is in no registry, with a buffer."""

    name = "doubled"
    Config = IA3Config

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        """One buffer."""
        return {"factor": TensorSpec((1,), "ones", buffer=True)}

    def change_output(self, layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Some multiple."""
        return y * self.get_buffer("factor")


def test_variant_of_your_own(path: Path) -> None:
    """Otherwise an unregistered variant could be saved and never loaded, or a buffer come back at its initial value."""
    model = Mlp()
    fresh = copy.deepcopy(model)
    for factor in attach(model, IA3Config(), variant=Doubled).tensors().values():
        factor.fill_(2)
    save_adapter(model, path)
    load_adapter(fresh, path, variant=Doubled)
    assert torch.equal(fresh(X), model(X))
