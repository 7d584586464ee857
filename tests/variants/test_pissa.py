"""PiSSA: the principal part of the weight becomes the adapter."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector, vectors
from refs.methods.pissa import METHOD, sign_free
from refs.subject import Host
from refs.transcriptions import pissa as transcription
from tests.runtime.models import Quantised, refused, snapshot
from tests.variants.beside_peft import assert_close, assert_equals_peft, both, flow, linear, pass_through, settings_of
from variants import AdapterError, PiSSAConfig, attach, config_for, detach, load, save

F64: dict[str, Any] = {"r": 4, "alpha": 6.0, "dtype": "float64"}
VECTORS = vectors("pissa")


def effective(layer: nn.Linear, scale: float) -> Tensor:
    """W_res + s B A in float64."""
    adapter: Any = layer.adapter
    whole: Tensor = layer.weight.double() + scale * adapter.B.double() @ adapter.A.double()
    return whole


def with_orthogonal_weight() -> nn.Linear:
    """All singular values are equal: any r directions are principal, and rounding chooses."""
    layer = nn.Linear(64, 64)
    nn.init.orthogonal_(layer.weight)
    return layer


@pytest.mark.parametrize(
    ("options", "shape", "batch"),
    [
        ({}, {}, (5,)),
        ({"rslora": True}, {"bias": False}, (2, 3)),
        ({"dropout": 0.25}, {"d_in": 20, "d_out": 12}, ()),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_equals_peft(options: dict[str, Any], shape: dict[str, Any], batch: tuple[int, ...], training: bool) -> None:
    """Otherwise the layer would compute, or learn, something else than peft's."""
    assert_equals_peft(METHOD, PiSSAConfig(**F64, **options), linear(**shape), batch, training=training)


@pytest.mark.parametrize("alpha", [4.0, 6.0, 1.0])
@pytest.mark.parametrize("rslora", [False, True])
def test_starts_where_peft_starts(alpha: float, rslora: bool) -> None:
    """Otherwise the start would be without S / s, which the identity does not show and training does."""
    config = PiSSAConfig(r=4, alpha=alpha, rslora=rslora)
    own, theirs = (
        sign_free({**side.values(), "W_res": side.base.weight.detach()}, settings_of(config))
        for side in both(METHOD, config, linear(dtype=torch.float32))
    )
    assert_close(own, theirs, limit=1e-6)


def test_float64_weight_is_decomposed_in_float64() -> None:
    """Otherwise a float64 model would start from singular values that are right to 7 digits."""
    layer = linear()
    S = torch.linalg.svdvals(layer.weight.detach())[:4]
    adapter: Any = attach(layer, PiSSAConfig(**F64)).layers[""]
    for gram in (adapter.A @ adapter.A.T, adapter.B.T @ adapter.B):
        torch.testing.assert_close(gram.detach(), torch.diag(S / 1.5), rtol=0, atol=1e-14)


@pytest.mark.parametrize("niter", [None, 0, 4])
@pytest.mark.parametrize("adapter", ["float32", "bfloat16"])
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16, torch.float16])
def test_reconstruction_is_as_good_as_the_weight_can_hold(base: torch.dtype, adapter: str, niter: int | None) -> None:
    """Otherwise W_res would be made from factors that are not the stored ones."""
    layer = linear(64, 48, dtype=base)
    W = layer.weight.detach().double()
    attach(layer, PiSSAConfig(r=16, alpha=16, dtype=adapter, niter=niter))
    error = (effective(layer, 1.0) - W).abs()
    formed_in_float32 = 16 * torch.finfo(torch.float32).eps * W.abs().max()
    smallest = torch.finfo(base).smallest_normal * torch.finfo(base).eps
    assert bool((error <= torch.finfo(base).eps / 2 * layer.weight.abs() + formed_in_float32 + smallest).all())


def test_peft_reconstructs_worse_from_bfloat16() -> None:
    """Otherwise the declared difference would be gone: peft rounds A and B to the base's dtype after subtracting."""
    layer = linear(128, 128, dtype=torch.bfloat16)
    config = PiSSAConfig(r=64, alpha=64)
    errors = []
    for side in both(METHOD, config, layer):
        values = side.values()
        W = side.base.weight.double() + values["B"].double() @ values["A"].double()
        errors.append((W - layer.weight.double()).norm().item())
    assert 3 * errors[0] < errors[1]


def test_randomised_start_draws_one_matrix() -> None:
    """Otherwise the quick start would not be r columns wide and niter rounds long, as peft's is."""
    layer = linear(20, 12, dtype=torch.float64)
    torch.manual_seed(3)
    G = torch.randn(12, 4, dtype=torch.float64)
    want = transcription.initial(layer.weight.detach(), transcription.Config(4, 6.0, niter=3), test_matrix=G)
    torch.manual_seed(3)
    adapter: Any = attach(layer, PiSSAConfig(**F64, niter=3)).layers[""]
    got = {"BA": (adapter.B @ adapter.A).detach(), "W_res": layer.weight.detach()}
    assert_close(got, {"BA": want["B"] @ want["A"], "W_res": want["W_res"]})


def moved_by_rounding(W: Tensor, config: PiSSAConfig) -> float:
    """How far the principal part moves when each number of W moves by 16 roundings of float32: what a decomposition in
    that precision knows, on any machine.
    """
    eps = 16 * torch.finfo(torch.float32).eps
    signs = torch.sign(torch.sin(2.4 * torch.arange(W.numel()))).reshape(W.shape)
    parts = []
    for by in (0.0, eps, -eps):
        layer = nn.Linear(W.shape[1], W.shape[0], bias=False)
        layer.weight.data.copy_(W * (1 + by * signs))
        adapter: Any = attach(layer, config).layers[""]
        parts.append((adapter.config.scale * adapter.B @ adapter.A).detach())
    return max((part - parts[0]).abs().max().item() for part in parts[1:])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.file.split("/")[1].removesuffix(".safetensors"))
def test_golden_vectors(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the recorded initialisations and gradients of the authors' script would not come out."""
    t, c = vector.tensors, vector.config
    niter = c["init_lora_weights"].partition("niter_")[2]
    layer = nn.Linear(c["d_in"], c["d_out"], bias=c["bias"])
    layer.load_state_dict({"weight": t["W"].float(), **({"bias": t["bias"].float()} if c["bias"] else {})})
    if niter:
        monkeypatch.setattr(torch, "randn", lambda *size, **options: t["svd_lowrank_test_matrix"])
    options = {"r": c["r"], "alpha": float(c["lora_alpha"]), "rslora": c["use_rslora"]}
    config = PiSSAConfig(**options, niter=int(niter) if niter else None)
    weight = layer.weight.detach().clone()
    adapter: Any = attach(layer, config).layers[""]
    if vector.dtype == "float32" and c["state"] == "init":
        got = {"delta_W": (adapter.config.scale * adapter.B @ adapter.A).detach(), "W_res": layer.weight.detach()}
        room = 2 * moved_by_rounding(weight, config)  # two decompositions meet, the recorded one and this one
        for name, value in got.items():
            distance = (value - t[name]).abs().max().item()
            assert distance <= 1e-6 * t[name].abs().max().item() + room, name
    layer.double()
    with torch.no_grad():
        for own, recorded in ((adapter.A, "lora_A.weight"), (adapter.B, "lora_B.weight"), (layer.weight, "W_res")):
            own.copy_(t[recorded])
    x = t["x"].double().requires_grad_()
    y = layer(x)
    (y * t["g"]).sum().backward()
    result = {"y": y, "grad.x": x.grad, "grad.lora_A.weight": adapter.A.grad, "grad.lora_B.weight": adapter.B.grad}
    for name, tensor in result.items():
        distance = (tensor.detach() - t[name]).abs().max().item()
        scale = t[name].abs().max().item()
        assert distance <= 1.001 * vector.verification[name]["max_abs"] + 1e-9 * scale, name


def test_both_factors_are_live() -> None:
    """Otherwise half of the adapter would not train from the first step on."""
    subject, reference = both(METHOD, PiSSAConfig(**F64), linear())
    assert flow(subject) == flow(reference) == {"A": "live", "B": "live"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_detach_restores_bit_for_bit(dtype: torch.dtype) -> None:
    """Otherwise the residual, or a rounded sum, would stay in the model."""
    layer = linear(dtype=dtype)
    before = snapshot(layer)
    attach(layer, PiSSAConfig(r=4))
    assert snapshot(layer)["bytes"] != before["bytes"]
    detach(layer)
    assert snapshot(layer) == before


@pytest.mark.parametrize("niter", [None, 2])
@pytest.mark.parametrize("make", [lambda: nn.Linear(64, 64), with_orthogonal_weight])
def test_trained_adapter_loads_as_it_was(make: Any, niter: int | None, tmp_path: Path) -> None:
    """Otherwise W_res would be made from the trained factors, or from another decomposition, and training be lost."""
    layer = make()
    plain, x = copy.deepcopy(layer), torch.randn(5, 64)
    adapter: Any = attach(layer, PiSSAConfig(r=8, niter=niter)).layers[""]
    with torch.no_grad():
        adapter.A.add_(0.1 * torch.randn_like(adapter.A))
    save(layer, tmp_path / "adapter.safetensors")
    again = copy.deepcopy(plain)
    torch.set_num_threads(2)
    load(again, tmp_path / "adapter.safetensors")
    torch.set_num_threads(1)
    torch.testing.assert_close(again(x), layer(x), rtol=0, atol=1e-5)
    assert (layer(x) - plain(x)).abs().max() > 0.1
    detach(again)
    assert torch.equal(again.weight, plain.weight)


def test_peft_loads_a_randomised_start_as_something_else(tmp_path: Path) -> None:
    """Otherwise A0 and B0 need not be in the file: peft decomposes again, from other random numbers."""
    from peft import LoraConfig, PeftModel, get_peft_model

    plain = Host(nn.Linear(64, 64))
    config = LoraConfig(r=8, init_lora_weights="pissa_niter_2", target_modules=["layer"])
    x = torch.randn(5, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(copy.deepcopy(plain), config)
        y = model(x)
        model.save_pretrained(str(tmp_path))
        again = PeftModel.from_pretrained(copy.deepcopy(plain), str(tmp_path))
    assert (again(x) - y).norm() > 0.1 * y.norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "positive"),
        ({"alpha": -1.0}, "positive"),
        ({"niter": -1}, "rounds"),
        ({"niter": True}, "rounds"),
        ({"niter": "4"}, "rounds"),
        ({"dropout": 1.0}, "probability"),
        ({"init": "gaussian"}, "got the option init; want one of targets, dtype, "),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Otherwise an option would silently do nothing, or divide by zero later."""
    with pytest.raises(AdapterError, match=message):
        config_for("pissa", **options)


def test_what_cannot_be_decomposed_is_refused() -> None:
    """Otherwise a rank beyond the spectrum or an integer weight would fail in the middle of an attach."""
    with refused(layer := nn.Linear(12, 6), "r of at most 6"):
        attach(layer, PiSSAConfig(r=7))
    with refused(quantised := Quantised(6, 10), "floating-point weight"):
        attach(quantised, PiSSAConfig(r=2))


def test_bfloat16_output() -> None:
    """Otherwise a half-precision model would get float32 activations from an adapted layer."""
    subject, _ = both(METHOD, PiSSAConfig(r=4), linear(dtype=torch.bfloat16))
    result = pass_through(subject, torch.randn(5, 12).bfloat16(), torch.randn(5, 20).bfloat16())
    assert result["y"].dtype is torch.bfloat16
    assert result["gradient of A"].dtype is torch.float32
