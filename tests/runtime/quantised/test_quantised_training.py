"""Gradients of adapters on quantised models are those of the formulas, whatever was evaluated before and in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, NEED_DATA, small_config
from tests.runtime.repacking import FOUR_BITS, cpu, evaluated, numbers, quantised, stack
from variants import Targets, attach, attachments
from variants.runtime import attach as attaching
from variants.runtime.layers.packing import is_repacked

BOTH, FIRST = Targets(include=("0", "2")), Targets(include=("0",))
CLOSE = 1e-4
"""Of a gradient in float32 to that in float64, relative to its largest entry: far above float32's rounding (2e-6), far
below what a repacked layer does to it (all of it is lost, or another of the same size comes out)."""


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def plain(model: nn.Sequential) -> nn.Sequential:
    """Float64 layers with the numbers that the quantised ones stand for."""
    layers: list[nn.Module] = []
    for layer in model:
        if hasattr(layer, "in_features"):
            bias: Tensor | None = layer.bias  # type: ignore[assignment]
            twin = nn.Linear(layer.in_features, layer.out_features, bias is not None)  # type: ignore[arg-type]
            twin.weight = nn.Parameter(numbers(layer).detach().double())
            twin.bias = None if bias is None else nn.Parameter(bias.detach().double())  # type: ignore[assignment]
            layers.append(twin)
        else:
            layers.append(nn.Tanh())
    return nn.Sequential(*layers)


def step(model: nn.Sequential, x: Tensor) -> dict[str, Tensor | None]:
    """The gradients of the adapters and of the input."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = model(x)
    (y * torch.linspace(-1, 2, y.numel()).view(y.shape)).mean().backward()
    tensors = next(iter(attachments(model).values())).tensors()
    found = {key: p.grad for key, p in tensors.items() if p.requires_grad}
    return {**found, "x": x.grad}


def gradients_are_right(model: nn.Sequential, name: str, targets: Targets, *, training: bool) -> None:
    """At two steps with an evaluation before, between and after them."""
    data = [torch.randn(16, 128)] if name in NEED_DATA else None
    attachment = attach(model, small_config(name, targets), calibration=data)
    with torch.no_grad():  # a little: a saturated tanh says nothing
        for parameter in attachment.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    twin = plain(model)
    other = attach(
        twin,
        small_config(name, targets, dtype="float64"),
        calibration=None if data is None else [each.double() for each in data],
    )
    for key, tensor in attachment.tensors().items():
        other.tensors()[key].data.copy_(tensor.detach())
    x = torch.randn(4, 128)
    for _ in range(2):
        evaluated(model)
        mine = step(model.train(training), x)
        want = step(twin.train(training), x.double())
        assert mine.keys() == want.keys()
        for key, wanted in want.items():
            got = mine[key]
            assert got is not None, f"{key} has no gradient"
            assert wanted is not None
            assert torch.allclose(got.double(), wanted, atol=CLOSE * float(wanted.abs().max()), rtol=0), key
        with torch.no_grad():  # the same step for both
            for key, tensor in attachment.tensors().items():
                if tensor.requires_grad:
                    tensor -= mine[key]  # type: ignore[operator]
                other.tensors()[key].copy_(tensor)
    assert not any(is_repacked(layer) for layer in model)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FOUR_BITS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("called", [False, True])
def test_gradients(kind: str, bias: bool, called: bool, name: str) -> None:
    """Training on a repacked layer would raise or, where there is no bias, silently follow another loss."""
    model = stack(kind, bias=bias)
    gradients_are_right(evaluated(model) if called else model, name, BOTH, training=True)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_through_a_layer_without_an_adapter(bias: bool, called: bool, nested: bool, training: bool) -> None:
    """The adapter below it would get no gradient, or another: all layers of the model matter, and not its targets."""
    model = stack("nf4", bias=bias, nested=nested)
    gradients_are_right(evaluated(model) if called else model, "lora", FIRST, training=training)


@pytest.mark.parametrize("bias", [False, True])
def test_a_bare_repacked_layer_is_wrong(bias: bool) -> None:
    """bitsandbytes has repaired its layers: there is nothing left to guard against, and the guard can go."""
    layer = evaluated(quantised(128, 64, "nf4", bias=bias))
    x = torch.randn(4, 128, requires_grad=True)
    with suppress(RuntimeError):
        layer(x).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("targets", [FIRST, BOTH])
def test_seen_where_layers_are_repacked(called: bool, targets: Targets) -> None:
    """The tests above would pass where nothing keeps bitsandbytes from repacking."""
    model = stack("nf4", bias=False)
    model = evaluated(model) if called else model
    with patch.object(attaching, "hold", lambda *args: None), pytest.raises(AssertionError):
        gradients_are_right(model, "lora", targets, training=True)


@pytest.mark.parametrize("d_out", [20, 33, 48])
@pytest.mark.parametrize("d_in", [64, 40])
def test_sizes_that_cannot_be_repacked(d_out: int, d_in: int) -> None:
    """An adapted layer would raise in eval mode, where bitsandbytes repacks only whole groups of rows and blocks."""
    model = nn.Sequential(quantised(d_in, d_out, "nf4", bias=False))
    want: Any = numbers(model[0])
    attach(model, small_config("lora", FIRST))
    evaluated(model)
    x = torch.randn(2, d_in)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), x @ want.T, atol=1e-4)
