"""ROAD: pairs of outputs are rotated and scaled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from refs.methods.road import METHOD
from tests.runtime.models import refused, snapshot
from tests.variants.beside_peft import assert_equals_peft, both, flow, linear
from variants import AdapterError, ROADConfig, attach, config_for, detach, load, save

KINDS = ("road_1", "road_2", "road_4")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("group_size", "shape", "batch"),
    [(4, {}, (5,)), (2, {"bias": False}, (2, 3)), (20, {}, ()), (6, {"d_in": 20, "d_out": 12}, (2, 1, 3))],
)
def test_equals_peft(kind: str, group_size: int, shape: dict[str, Any], batch: tuple[int, ...]) -> None:
    """Otherwise other outputs would be paired, or turned the other way round, or the bias not at all."""
    config = ROADConfig(kind=kind, group_size=group_size, dtype="float64")
    assert_equals_peft(METHOD, config, linear(**shape), batch)


@pytest.mark.parametrize("kind", KINDS)
def test_first_gradients(kind: str) -> None:
    """Otherwise angles or scales would not train, or road_4's idle halves would be taken for a fault."""
    subject, reference = both(METHOD, ROADConfig(kind=kind, group_size=4, dtype="float64"), linear())
    half = "50% live" if kind == "road_4" else "live"
    assert flow(subject) == flow(reference) == {"theta": half, "alpha": half}


def test_sum_of_squares_does_not_see_the_angles() -> None:
    """Otherwise road_1 would not be a rotation: one keeps the length of every pair."""
    layer = linear()
    adapter: Any = attach(layer, ROADConfig(group_size=4, dtype="float64")).layers[""]
    with torch.no_grad():
        adapter.theta.normal_()
    layer(torch.randn(5, 12).double()).square().sum().backward()
    assert adapter.theta.grad.abs().max() < 1e-12 < adapter.alpha.grad.abs().max()


def test_a_quarter_turn() -> None:
    """Otherwise the direction of the rotation, or the pairing across the halves of a group, would be another."""
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    adapter: Any = attach(layer, ROADConfig(group_size=4)).layers[""]
    with torch.no_grad():
        adapter.theta[0] = torch.pi / 2
    want = torch.tensor([-3.0, 2.0, 1.0, 4.0])
    torch.testing.assert_close(layer(torch.tensor([1.0, 2.0, 3.0, 4.0])), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_starts_as_the_identity(kind: str, dtype: torch.dtype) -> None:
    """Otherwise attaching would change the model or the dtype of its activations."""
    layer, x = linear(dtype=dtype), torch.randn(5, 12).to(dtype)
    y = layer(x)
    attach(layer, ROADConfig(kind=kind, group_size=10))
    assert torch.equal(layer(x), y)
    assert layer(x).dtype is dtype


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_restored(kind: str, tmp_path: Path) -> None:
    """Otherwise a file would lose the kind or the grouping, or detach leave something behind."""
    layer, x = nn.Linear(12, 20), torch.randn(5, 12)
    plain, before = copy.deepcopy(layer), snapshot(layer)
    adapter = attach(layer, ROADConfig(kind=kind, group_size=4)).layers[""]
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter))
    save(layer, tmp_path / "adapter.safetensors")
    load(plain, tmp_path / "adapter.safetensors")
    assert torch.equal(plain(x), layer(x))
    detach(layer)
    assert snapshot(layer) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "road_3"}, "one of road_1, road_2, road_4"),
        ({"group_size": 3}, "even integer"),
        ({"group_size": 0}, "even integer"),
        ({"group_size": "64"}, "even integer"),
        ({"group_size": True}, "even integer"),
        ({"r": 4}, "got the option r; want one of targets, dtype, "),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Otherwise an option would silently do nothing, or fail far from here."""
    with pytest.raises(AdapterError, match=message):
        config_for("road", **options)


def test_outputs_that_do_not_divide_are_refused() -> None:
    """Otherwise the last outputs would be left alone or paired with nothing."""
    with refused(layer := nn.Linear(12, 20), "divisor of the layer's 20 outputs"):
        attach(layer, ROADConfig())
