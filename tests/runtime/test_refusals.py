"""An attach or a detach that is refused leaves the model as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, Mlp, bert, llama, refused, small_config, snapshot
from variants import AdapterError, HRAConfig, IA3Config, IA3FFConfig, LoRAConfig, Targets, attach, detach
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.spec import TensorSpec

UP, DOWN = Targets(include=("up",)), Targets(include=("down",))


def mixed_flags(model: nn.Module) -> nn.Module:
    """The same model with some parameters frozen, so that flags cannot be restored by setting them all."""
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 > 0 and parameter.is_floating_point())
    return model


def broken_second_layer(change: Callable[[nn.Linear], None]) -> nn.Module:
    """Two layers, the second of them unusable."""
    model = Mlp()
    change(model.down)
    return mixed_flags(model)


def set_nan(layer: nn.Linear) -> None:
    """One NaN."""
    layer.weight.data[1, 2] = torch.nan


def set_infinity_in_8_bits(layer: nn.Linear) -> None:
    """One infinity in a dtype that torch.isfinite does not know."""
    layer.weight.data[1, 2] = torch.inf
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e5m2), requires_grad=False)


def set_meta(layer: nn.Linear) -> None:
    """No weight."""
    layer.to("meta")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_nan, "attach to down: got NaN or infinity"),
        (set_infinity_in_8_bits, "attach to down: got NaN or infinity"),
        (set_meta, "attach to down: got a weight on the meta device"),
    ],
)
def test_unusable_weight_on_the_second_layer(change: Callable[[nn.Linear], None], message: str, name: str) -> None:
    """Otherwise an adapter would be built on weights that are not there, or the first layer would keep its half."""
    model = broken_second_layer(change)
    with refused(model, message):
        attach(model, small_config(name))


def test_lazy_layer() -> None:
    """Otherwise a layer without a shape would be a torch error that does not name it."""
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(AdapterError, match="attach to 0: got a lazy layer"):
        attach(model, small_config("lora"))


def test_rank_too_large_for_the_second_layer() -> None:
    """Otherwise a rank that fits only the first layer would leave an adapter there, or the error name no layer."""
    model = mixed_flags(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8)))
    with refused(model, r"4 -> 8, attach to 1: got r=6; want r of at most 4"):
        attach(model, HRAConfig(r=6, gram_schmidt=True))


class Scripted(Adapter):
    """A variant that fails where the test says."""

    name = "scripted"
    Config = IA3Config
    fails_in: str

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        """A tensor whose initial value fails on the second layer, if asked to."""
        wrong = cls.fails_in == "value" and d_in == 10
        return {"g": TensorSpec((d_in,), lambda shape, _: torch.ones(3 if wrong else shape))}

    def hook(self, layer: nn.Module) -> None:
        """Hooks, and then fails on the second layer, if asked to."""
        super().hook(layer)
        if self.fails_in == "hook" and self.d_in == 10:
            raise KeyboardInterrupt

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Nothing."""
        return x


def test_initial_value_fails_on_the_second_layer() -> None:
    """Otherwise a bad callable would leave the first layer adapted, or the error would not name the layer."""
    model = mixed_flags(Mlp())
    with refused(model, r"attach to down: got an initial value of shape \(3,\)"):
        attach(model, IA3Config(), variant=type("Value", (Scripted,), {"fails_in": "value"}))


def test_interrupted_attach() -> None:
    """Otherwise Ctrl-C between two layers would leave hooks behind."""
    model = mixed_flags(Mlp())
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        attach(model, IA3Config(), variant=type("Hook", (Scripted,), {"fails_in": "hook"}))
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("build", "config", "message"),
    [
        (llama, LoRAConfig(targets=Targets(include=("qproj",))), "no target .*q_proj"),
        (llama, LoRAConfig(targets=Targets(layers=(9,))), "2 numbered blocks"),
        (Mlp, "lora", r"the config is the string .lora.\. Pass a config object"),
        (Mlp, LoRAConfig, r"the config is the class LoRAConfig\. Pass a config object: LoRAConfig"),
        (Mlp, AdapterConfig(), r"the config is of type AdapterConfig\. Pass one of LoRAConfig"),
    ],
)
def test_nothing_to_attach(build: Callable[[], nn.Module], config: Any, message: str) -> None:
    """Otherwise an adapter on nothing would look like a success, or a wrong config would fail inside some variant."""
    model = build()
    with refused(model, message):
        attach(model, config)


def test_config_of_another_variant() -> None:
    """Otherwise a variant would ignore the options of another one's config."""
    model = Mlp()
    with refused(model, r"attach\(variant=Scripted\): got a LoRAConfig; want a IA3Config"):
        attach(model, LoRAConfig(), variant=Scripted)


def test_warning_made_an_error() -> None:
    """Otherwise a run with -W error would stop half-way through an attach."""
    model = mixed_flags(bert())
    before = snapshot(model)
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning, match=r"pooler\.dense"):
        attach(model, small_config("ia3", Targets(roles=("writer",))))
    assert snapshot(model) == before


@pytest.mark.parametrize("targets", [UP, Targets()])
def test_second_adapter_on_the_same_target(targets: Targets) -> None:
    """Otherwise two adapters would stack on one layer, and one detach take off the other."""
    model = mixed_flags(Mlp())
    attach(model, IA3Config(targets=UP))
    with refused(model, "attach to up: got a layer that already has an adapter"):
        attach(model, IA3FFConfig(targets=targets))


def test_name_in_use() -> None:
    """Otherwise a second adapter would take the place of the first in the model's memory."""
    model = mixed_flags(Mlp())
    attach(model, IA3Config(targets=UP), name="mine")
    with refused(model, "already has an adapter named 'mine'"):
        attach(model, IA3FFConfig(targets=DOWN), name="mine")


@pytest.mark.parametrize("inner_first", [True, False])
def test_adapters_through_another_module(inner_first: bool) -> None:
    """Otherwise a model and its part would each freeze and restore the other's adapters."""
    inner = Mlp()
    outer = nn.Sequential(inner, nn.Linear(6, 6))
    first, second = (inner, outer) if inner_first else (outer, inner)
    attach(first, small_config("ia3"))
    with refused(outer, "adapters attached through another module"):
        attach(second, small_config("lora"))


@pytest.mark.parametrize(
    ("name", "message"), [(None, "this model has no adapter"), ("ia3", "this model has no adapter")]
)
def test_detach_of_a_plain_model(name: str | None, message: str) -> None:
    """Otherwise detaching twice would pass in silence."""
    model = Mlp()
    with refused(model, message):
        detach(model, name)


def test_detach_of_an_unknown_name() -> None:
    """Otherwise a misspelt name would take off something else, or nothing."""
    model = Mlp()
    attach(model, small_config("ia3"))
    with refused(model, "got 'lora'; want one of 'ia3'"):
        detach(model, "lora")


def test_copy_of_an_adapted_part() -> None:
    """Otherwise a copied layer that still has its adapter could be adapted once more."""
    model = Mlp()
    attach(model, small_config("ia3"))
    part = nn.Sequential(copy.deepcopy(model.up))
    with refused(part, "adapters attached through another module"):
        attach(part, small_config("lora"))
