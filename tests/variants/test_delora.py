"""DeLoRA: normalised directions, a trainable strength, and the authors' frozen copies."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector, vectors
from refs.methods.delora import METHOD
from tests.runtime.models import Quantised, refused, snapshot
from tests.variants.beside_peft import assert_close, assert_equals_peft, both, closed, flow, linear, pass_through
from variants import AdapterError, DeLoRAConfig, attach, config_for, detach, load, save

F64: dict[str, Any] = {"r": 4, "dtype": "float64"}
RECORDED = {"A": "delora_A.weight", "B": "delora_B.weight", "C": "frozen_C", "D": "frozen_D", "lam": "delora_lambda"}
VECTORS = vectors("delora")


@pytest.mark.parametrize(
    ("options", "shape", "batch"),
    [
        ({}, {}, (5,)),
        ({"lam": 0.7}, {"bias": False}, (2, 3)),
        ({"dropout": 0.25}, {"d_in": 20, "d_out": 12}, ()),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_equals_peft(options: dict[str, Any], shape: dict[str, Any], batch: tuple[int, ...], training: bool) -> None:
    """Otherwise the layer would compute, or learn, something else than peft's."""
    assert_equals_peft(METHOD, DeLoRAConfig(**F64, **options), linear(**shape), batch, training=training)


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-4, 1e-2])
def test_equals_peft_around_the_smallest_norm(size: float) -> None:
    """Otherwise directions that are (nearly) zero would be divided by something else, or their norms trained there."""
    config = DeLoRAConfig(**F64)
    subject, reference = both(METHOD, config, linear())
    values = {name: value + 0.5 * torch.randn_like(value) for name, value in reference.values().items()}
    values["A"][1] *= size / values["A"][1].norm()
    values["B"][:, 2] *= size / values["B"][:, 2].norm()
    x, cotangent = torch.randn(5, 12).double(), torch.randn(5, 20).double()
    for side in (subject, reference):
        side.load(values)
    got = pass_through(subject, x, cotangent)
    assert_close(got, pass_through(reference, x, cotangent))
    assert_close({"y": got["y"]}, {"y": closed(METHOD, config, subject, x)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_starts_as_written(dtype: torch.dtype) -> None:
    """Otherwise the strength, the frozen norms or the spread of A would not be the method's."""
    layer = linear(4000, 20, dtype=dtype)
    tensors = attach(layer, DeLoRAConfig(r=4)).layers[""].state_dict()
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "A": (4, 4000),
        "B": (20, 4),
        "lam": (1,),
        "w": (4000,),
    }
    assert tensors["lam"].item() == 15
    assert not tensors["B"].any()
    torch.testing.assert_close(tensors["w"].double(), layer.weight.double().norm(dim=0), rtol=1e-6, atol=0)
    edge = 4000**-0.5
    assert 0.99 * edge < tensors["A"].abs().max() <= edge
    assert tensors["A"].std().item() == pytest.approx(edge / math.sqrt(3), rel=0.02)


def test_norms_are_a_frozen_saved_buffer() -> None:
    """Otherwise they would train, or follow the weight, or be lost in a file."""
    layer = linear()
    attach(layer, DeLoRAConfig(**F64))
    assert "adapter.w" in dict(layer.named_buffers())
    assert "adapter.w" in layer.state_dict()
    assert "adapter.w" not in dict(layer.named_parameters())


def test_first_gradients() -> None:
    """Otherwise a tensor would start to train too early, or never."""
    subject, reference = both(METHOD, DeLoRAConfig(**F64), linear())
    assert flow(subject) == flow(reference) == {"A": "dead", "B": "live", "lam": "dead"}
    host = copy.deepcopy(linear())
    attach(host, DeLoRAConfig(**F64, frozen_copies=True))
    host(torch.randn(5, 12).double()).mul(torch.randn(20)).sum().backward()
    grads = {name: p.grad is not None and bool(p.grad.any()) for name, p in host.adapter.named_parameters()}  # type: ignore[union-attr]
    assert grads == {"A": True, "B": True, "lam": False}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.file.split("/")[1].removesuffix(".safetensors"))
def test_golden_vectors_of_the_authors(vector: Vector) -> None:
    """Otherwise frozen_copies would not be the authors' layer."""
    t, c = vector.tensors, vector.config
    layer = nn.Linear(c["d_in"], c["d_out"], bias=c["bias"]).double()
    layer.load_state_dict({"weight": t["W"].double(), **({"bias": t["bias"].double()} if c["bias"] else {})})
    config = DeLoRAConfig(r=c["r"], lam=c["delora_lambda_init"], frozen_copies=True, dtype="float64")
    adapter = attach(layer, config).layers[""]
    own: dict[str, Tensor] = adapter.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, recorded in RECORDED.items():
            own[name].copy_(t[recorded])
    x = t["x"].double().requires_grad_()
    y = layer(x)
    (y * t["g"]).sum().backward()
    result = {"y": y, "grad.x": x.grad, **{f"grad.{RECORDED[n]}": own[n].grad for n in ("A", "B", "lam")}}
    for name, tensor in result.items():
        assert tensor is not None
        distance = (tensor.detach() - t[name]).abs().max().item()
        scale = max(t[name].abs().max().item(), t["grad.delora_A.weight"].abs().max().item())
        assert distance <= 1.001 * vector.verification[name]["max_abs"] + 1e-9 * scale, name


def test_frozen_copies_equal_the_closed_form() -> None:
    """Otherwise two ways to write the same formula would disagree once training has moved A and B, however small."""
    config = DeLoRAConfig(**F64, frozen_copies=True)
    subject, _ = both(METHOD, config, linear())
    values = {name: subject.values()[name] + 0.5 * torch.randn_like(t) for name, t in subject.leaves().items()}
    values["A"][1] *= 1e-6  # the authors clamp no norm
    subject.load(values)
    x = torch.randn(5, 12).double()
    assert_close({"y": subject(x).detach()}, {"y": closed(METHOD, config, subject, x)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen_copies", [False, True])
def test_starts_as_the_identity(dtype: torch.dtype, frozen_copies: bool) -> None:
    """Otherwise attaching would change the model, if only by a rounding."""
    layer, x = linear(dtype=dtype), torch.randn(5, 12).to(dtype)
    y = layer(x)
    attach(layer, DeLoRAConfig(r=4, frozen_copies=frozen_copies))
    assert torch.equal(layer(x), y)


def test_frozen_copies_stay_behind() -> None:
    """Otherwise C and D would share storage with A and B, as in the authors' module, and nothing would ever change."""
    layer = nn.Linear(12, 20)
    adapter: Any = attach(layer, DeLoRAConfig(r=4, frozen_copies=True)).layers[""]
    assert torch.equal(adapter.A, adapter.C)
    assert torch.equal(adapter.B, adapter.D)
    x = torch.randn(5, 12)
    before = layer(x).detach()
    with torch.no_grad():
        adapter.A.add_(0.1)
    assert not torch.equal(adapter.A, adapter.C)
    assert (layer(x) - before).abs().max() > 1e-3


def test_nothing_as_large_as_the_input_is_kept_for_the_backward_pass() -> None:
    """Otherwise the scales would be applied to x, which is far larger than A."""
    layer = nn.Linear(64, 8)
    attach(layer, DeLoRAConfig(r=4))
    x = torch.randn(100, 64)
    kept: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(x)
    assert {t.data_ptr() for t in kept if t.numel() >= x.numel()} == {x.data_ptr()}


@pytest.mark.parametrize("frozen_copies", [False, True])
def test_saved_and_restored(frozen_copies: bool, tmp_path: Path) -> None:
    """Otherwise a file would lose the strength, the norms or the frozen copies, or detach leave something behind."""
    layer, x = nn.Linear(12, 20), torch.randn(5, 12)
    plain, before = copy.deepcopy(layer), snapshot(layer)
    adapter = attach(layer, DeLoRAConfig(r=4, frozen_copies=frozen_copies)).layers[""]
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
        ({"lam": 0.0}, "nothing would train"),
        ({"lam": -1.0}, "positive"),
        ({"lam": math.nan}, "finite"),
        ({"r": 0}, "at least 1"),
        ({"dropout": 1.0}, "probability"),
        ({"frozen_copies": "yes"}, "True or False"),
        ({"alpha": 8.0}, "got the option alpha; want one of targets, dtype, "),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Otherwise an option would silently do nothing, or leave every gradient zero."""
    with pytest.raises(AdapterError, match=message):
        config_for("delora", **options)


def test_quantised_weight_is_refused() -> None:
    """Otherwise the norms would be those of the integers."""
    with refused(layer := Quantised(6, 10), "floating-point weight"):
        attach(layer, DeLoRAConfig(r=2))


def test_bfloat16_base() -> None:
    """Otherwise outputs would change dtype, or the frozen norms be rounded as peft's are."""
    layer = linear(dtype=torch.bfloat16)
    subject, reference = both(METHOD, DeLoRAConfig(r=4), layer)
    assert subject(torch.randn(5, 12).bfloat16()).dtype is torch.bfloat16
    exact = layer.weight.double().norm(dim=0)
    own, theirs = ((side.values()["w"] - exact).abs().max().item() for side in (subject, reference))
    assert own < 1e-6 < 1e-4 < theirs
