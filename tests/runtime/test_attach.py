"""Attach, use, detach: what an adapter changes about a model while it is there, and nothing after."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from tests.runtime.models import LANGUAGE_MODELS, NAMES, START_OFF, Mlp, hidden, llama, move, small_config, snapshot
from variants import IA3Config, IA3FFConfig, Targets, attach, attachments, detach
from variants.runtime.adapter import Adapter

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
UP, DOWN = Targets(include=("up",)), Targets(include=("down",))


def base_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that do not belong to an adapter."""
    return (p for name, p in model.named_parameters() if ".adapter." not in f".{name}")


def step(model: nn.Module) -> None:
    """One optimiser step on whatever is trainable, under a random cotangent."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    y = model(X)
    (y * torch.randn_like(y)).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", NAMES)
def test_only_the_adapter_is_trainable(name: str) -> None:
    """Otherwise the base would train along, or the adapter would not train at all."""
    model = llama()
    attachment = attach(model, small_config(name))
    own = list(attachment.parameters())
    assert own
    assert not any(p.requires_grad for p in base_parameters(model))
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in own}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", LANGUAGE_MODELS)
def test_outputs_start_unchanged_and_then_move(build: Callable[[], nn.Module], name: str) -> None:
    """Otherwise attaching would disturb the model, or the adapter would be wired to nothing."""
    model = build()
    before = hidden(model)
    attach(model, small_config(name))
    torch.testing.assert_close(hidden(model), before, rtol=0, atol=START_OFF.get(name, 0))
    move(model)
    assert (hidden(model) - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", LANGUAGE_MODELS)
def test_detach_restores_bit_for_bit(build: Callable[[], nn.Module], name: str) -> None:
    """Otherwise weights, flags, hooks or modules of the base would not survive an adapter."""
    model = build().eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 > 0)
    before, output = snapshot(model), hidden(model)
    attach(model, small_config(name))
    move(model)
    hidden(model).sum().backward()
    detach(model)
    assert snapshot(model) == before
    assert torch.equal(hidden(model), output)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_trains_the_adapter_alone(name: str) -> None:
    """Otherwise an optimiser step would reach the base, or not reach the adapter."""
    model = Mlp()
    attachment = attach(model, small_config(name))
    base = [p.detach().clone() for p in base_parameters(model)]
    start = {key: t.detach().clone() for key, t in attachment.tensors().items()}
    step(model)
    assert all(torch.equal(a, b) for a, b in zip(base_parameters(model), base, strict=True))
    assert any(not torch.equal(t, start[key]) for key, t in attachment.tensors().items())


@pytest.mark.parametrize("first", ["gate", "ff"])
def test_two_adapters_come_off_in_either_order(first: str) -> None:
    """Otherwise IA3's two passes could not be taken off one at a time, or the first to go would unfreeze the base."""
    model = Mlp().eval()
    model.up.bias.requires_grad_(False)
    before = snapshot(model)
    attach(model, IA3Config(targets=UP), name="gate")
    attach(model, IA3FFConfig(targets=DOWN), name="ff")
    step(model)
    second = "ff" if first == "gate" else "gate"
    detach(model, first)
    assert list(attachments(model)) == [second]
    assert [p.requires_grad for p in base_parameters(model)] == [False] * 4
    detach(model, second)
    assert snapshot(model) == before


def test_detach_keeps_what_came_later() -> None:
    """Otherwise a head added after attach would be frozen by detach."""
    model = Mlp()
    attach(model, small_config("lora"))
    model.add_module("head", nn.Linear(6, 2))
    detach(model)
    assert all(p.requires_grad for p in model.parameters())


def test_second_attach_remembers_what_came_between() -> None:
    """Otherwise a head added between two adapters would stay frozen for ever."""
    model = Mlp()
    attach(model, IA3Config(targets=UP))
    model.add_module("head", nn.Linear(6, 2))
    attach(model, IA3FFConfig(targets=DOWN))
    assert not any(p.requires_grad for p in model.get_submodule("head").parameters())
    detach(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("wrapped", [True, False])
def test_detach_after_a_target_was_replaced(wrapped: bool) -> None:
    """Otherwise a replaced or wrapped target would make detach fail half-way and lock the model for good."""
    model = Mlp()
    old = model.up
    attachment = attach(model, small_config("ia3"))
    model.up = nn.Sequential(old) if wrapped else nn.Linear(6, 10)  # type: ignore[assignment]
    detach(model)
    assert not any(isinstance(m, Adapter) for m in model.modules())
    assert not attachments(model)
    move(nn.ModuleList(attachment.layers.values()))
    torch.testing.assert_close(old(X), nn.functional.linear(X, old.weight, old.bias))


def test_detached_copy_leaves_the_original_working() -> None:
    """Otherwise a deep copy would share hooks or tensors with its original."""
    model = Mlp()
    plain = model(X)
    attach(model, small_config("lora"))
    move(model)
    adapted = model(X)
    clone = copy.deepcopy(model)
    torch.testing.assert_close(clone(X), adapted)
    move(clone)
    assert torch.equal(model(X), adapted)
    detach(clone)
    assert torch.equal(clone(X), plain)
    assert torch.equal(model(X), adapted)
    detach(model)
    assert torch.equal(model(X), plain)


@pytest.mark.parametrize("name", NAMES)
def test_pickled_model_works_and_detaches(name: str) -> None:
    """Otherwise a model saved whole by torch.save would come back without its hooks, or with hooks that stay on."""
    model = Mlp()
    plain = model(X)
    attach(model, small_config(name))
    move(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(X), model(X))
    assert {id(p) for p in attachments(again)[name].parameters()} <= {id(p) for p in again.parameters()}
    detach(again)
    assert torch.equal(again(X), plain)
    assert not torch.equal(model(X), plain)
