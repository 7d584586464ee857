"""Merge and unmerge: the adapter as part of the weights, and the weights as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import (
    LANGUAGE_MODELS,
    NAMES,
    Mlp,
    Quantised,
    hidden,
    llama,
    move,
    refused,
    small_config,
    snapshot,
)
from variants import IA3Config, LoRAConfig, Targets, attach, attachments, detach, load, merge, save, unmerge
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.numerics import fold
from variants.runtime.spec import TensorSpec

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
UP, DOWN = Targets(include=("up",)), Targets(include=("down",))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", LANGUAGE_MODELS, ids=lambda make: make.__name__)
def test_a_merged_model_answers_as_the_adapted_one(make: Callable[[], nn.Module], name: str) -> None:
    """What is deployed would not be what was trained; and after unmerging, not what it was.

    In float64: a whole model multiplies the roundings of float32 by more than any fixed limit allows for.
    """
    model = make().double().eval()
    base = hidden(model).detach()
    attach(model, small_config(name, dtype="float64"))
    move(model)
    adapted, before = hidden(model).detach(), snapshot(model)
    assert not torch.allclose(adapted, base, atol=1e-4)
    merge(model)
    assert torch.allclose(hidden(model), adapted, atol=1e-9 * float(adapted.abs().max()), rtol=0)
    unmerge(model)
    assert snapshot(model) == before
    assert torch.equal(hidden(model), adapted)


def test_the_adapter_is_off_while_merged() -> None:
    """It would be added twice: once in the weight, once by its hook."""
    model = Mlp().eval()
    attach(model, LoRAConfig(r=2, targets=UP))
    move(model)
    merge(model)
    assert torch.equal(model.up(X), nn.functional.linear(X, model.up.weight, model.up.bias))


def test_merging_twice_is_refused() -> None:
    """The second call would add the update again, silently."""
    model = Mlp()
    attach(model, LoRAConfig(r=2, targets=UP))
    move(model)
    merge(model)
    with refused(model, "merged already.*Call unmerge first"):
        merge(model)


def test_unmerging_what_is_not_merged_is_refused() -> None:
    """There is nothing to restore; a weight of long ago would be put back."""
    model = Mlp()
    attach(model, LoRAConfig(r=2, targets=UP))
    with refused(model, "not merged.*Call merge first"):
        unmerge(model)


def test_no_adapter_no_merge() -> None:
    """A plain model, or a name that is not there, would seem to be merged."""
    model = Mlp()
    with refused(model, "this model has no adapter"):
        merge(model)
    attach(model, LoRAConfig(r=2, targets=UP))
    with refused(model, "'other'.*lora"):
        merge(model, "other")


@pytest.mark.parametrize("name", NAMES)
def test_detach_while_merged_restores_the_bits(name: str) -> None:
    """The merged weight would stay for good."""
    model = Mlp()
    before = snapshot(model)
    attach(model, small_config(name, UP))
    move(model)
    merge(model)
    detach(model)
    assert snapshot(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_file_saved_while_merged_is_the_same_adapter(name: str, tmp_path: Path) -> None:
    """Saving at the wrong moment would lose what was trained."""
    base, x = Mlp(), X
    model = copy.deepcopy(base)
    attach(model, small_config(name, UP))
    move(model)
    adapted: Tensor = model(x)
    merge(model)
    save(model, tmp_path / "adapter")
    load(base, tmp_path / "adapter")
    assert torch.equal(base(x), adapted)


def test_one_of_two_adapters_can_be_merged() -> None:
    """Merging one would merge, or disturb, the other."""
    model, x = Mlp().double().eval(), X.double()
    attach(model, LoRAConfig(r=2, targets=UP, dtype="float64"), name="one")
    attach(model, IA3Config(targets=DOWN, dtype="float64"), name="two")
    move(model)
    adapted, W = model(x).detach(), model.down.weight.clone()
    with refused(model, "the model has 2 adapters: .one., .two."):
        merge(model)
    merge(model, "one")
    assert torch.allclose(model(x), adapted, atol=1e-9 * float(adapted.abs().max()), rtol=0)
    assert torch.equal(model.down.weight, W)
    merge(model, "two")
    unmerge(model, "one")
    assert not attachments(model)["one"].merged
    assert attachments(model)["two"].merged
    assert torch.allclose(model(x), adapted, atol=1e-9 * float(adapted.abs().max()), rtol=0)


def test_a_wrapped_target_is_found() -> None:
    """A layer that was moved into a wrapper after attaching could not be merged, or another of that name would be."""
    model, x = Mlp().double(), X.double()
    attach(model, LoRAConfig(r=2, targets=UP, dtype="float64"))
    move(model)
    adapted, W = model(x).detach(), model.up.weight.clone()
    model.up = nn.Sequential(model.up)
    merge(model)
    assert torch.allclose(model(x), adapted, atol=1e-9 * float(adapted.abs().max()), rtol=0)
    detach(model)
    assert torch.equal(model.up[0].weight, W)


def test_steering_a_merged_adapter_is_refused() -> None:
    """The coefficient would seem to be set, and nothing would happen."""
    model = Mlp()
    handle = attach(model, small_config("antipasto", UP))
    merge(model)
    with refused(model, "merged.*unmerge"):
        handle.steer(0.5)
    unmerge(model)
    handle.steer(0.5)


def test_a_shared_weight_is_refused() -> None:
    """The other module that holds it would change too."""
    model = Mlp()
    model.twin = nn.Linear(6, 10)
    model.twin.weight = model.up.weight
    attach(model, LoRAConfig(r=2, targets=UP))
    with refused(model, "merge at up.*tied to twin"):
        merge(model)


def test_a_quantised_weight_is_refused() -> None:
    """The update would be rounded away, or written over packed bytes."""
    model = nn.Sequential(Quantised(6, 10))
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",))))
    with refused(model, "int8.*before it is quantised"):
        merge(model)


class Doubling(nn.Linear):
    """A linear layer by its class and its tensors only."""

    def forward(self, input: Tensor) -> Tensor:
        """Twice."""
        return 2 * super().forward(input)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_layer_that_is_more_than_its_weight_is_refused(dtype: torch.dtype) -> None:
    """Otherwise what the layer does besides would be lost, or be done to the adapter as well."""
    model = nn.Sequential(Doubling(30, 20), nn.Linear(20, 1000), nn.Linear(1000, 10)).to(dtype)
    attach(model, LoRAConfig(r=2, targets=Targets(include=("1", "2"))), name="sound")
    merge(model, "sound")
    unmerge(model, "sound")
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",))), name="odd")
    with refused(model, "Doubling, whose own output is not weight x"):
        merge(model, "odd")


def test_values_too_large_for_the_layer_are_refused() -> None:
    """A float16 model would be full of infinities, and only its users would see."""
    model = Mlp().half()
    handle = attach(model, LoRAConfig(r=2, targets=UP))
    with torch.no_grad():
        for p in handle.parameters():
            p.fill_(1e4)
    with refused(model, "finite numbers in torch.float16"):
        merge(model)


class _Squared(Adapter):
    """y' = y + g y^2: no weight and bias have this effect."""

    name = "squared"
    Config = AdapterConfig

    @classmethod
    def specs(cls, config: AdapterConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"g": TensorSpec((d_out,), "ones")}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y + self.g * y * y


def test_an_effect_that_is_no_weight_is_refused() -> None:
    """A method that bends the output would be merged into the straight line that happens to fit at the unit vectors."""
    model = Mlp()
    attach(model, AdapterConfig(targets=UP), variant=_Squared)
    with refused(model, "only weight and bias"):
        merge(model)


def test_merging_leaves_training_mode_and_dropout_out() -> None:
    """A random mask would be frozen into the weights."""
    model = Mlp().train()
    attach(model, LoRAConfig(r=2, dropout=0.5, targets=UP))
    move(model)
    merge(model)
    merged = model.up.weight.clone()
    unmerge(model)
    model.eval()
    merge(model)
    assert torch.equal(model.up.weight, merged)


def test_more_inputs_than_go_through_at_once() -> None:
    """Columns beyond the first block would be those of the first block again, or zero."""
    model = nn.Sequential(nn.Linear(600, 3)).double().eval()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",)), dtype="float64"))
    move(model)
    x = torch.randn(2, 600, dtype=torch.float64)
    adapted = model(x).detach()
    merge(model)
    assert torch.allclose(model(x), adapted, atol=1e-9 * float(adapted.abs().max()), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_looking_up_columns_is_multiplying_by_unit_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging would be fast and another merge, for a method that changes the input or for layers of many blocks."""
    model = nn.Sequential(nn.Linear(600, 24)).eval()
    handle = attach(model, small_config(name, Targets(include=("0",))))
    move(model)
    W, b = handle.layers["0"].fold(model[0])
    monkeypatch.setattr(fold._Plain, "forward", nn.Linear.forward)
    multiplied = handle.layers["0"].fold(model[0])
    assert torch.equal(W, multiplied[0])
    assert torch.equal(b, multiplied[1])


def test_llama_generates_alike() -> None:
    """The whole model, cache and all, would drift from the adapted one."""
    model = llama().double().eval()
    attach(model, LoRAConfig(r=2, dtype="float64"))
    move(model)
    prompt = torch.tensor([[1, 2, 3]])
    told = model.generate(prompt, max_new_tokens=4, do_sample=False)
    merge(model)
    assert torch.equal(model.generate(prompt, max_new_tokens=4, do_sample=False), told)
