"""Why a method that takes a part of the weight over leaves the codes alone: what rounding the residual would cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NEED_DATA, move, small_config
from tests.runtime.repacking import KINDS, cpu, kept, numbers, quantised
from variants import PiSSAConfig, Targets, attach, detach, load, save
from variants.registry import VARIANTS
from variants.runtime.adapter import Adapter
from variants.runtime.layers.requantise import put_back, requantised

FIRST = Targets(include=("0",))
TAKE_OVER = tuple(variant.name for variant in VARIANTS if variant.residual is not Adapter.residual)
STEER = tuple(name for name in TAKE_OVER if name != "pissa")


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def decaying(d_out: int = 256, d_in: int = 256) -> Tensor:
    """A weight with a spectrum that falls, as trained ones have: S_i ~ 1 / (i + 8)."""
    torch.manual_seed(1)
    U, V = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q for n in (d_out, d_in))
    S = 1 / (torch.arange(min(d_out, d_in), dtype=torch.float64) + 8)
    return (U[:, : len(S)] * S) @ V[: len(S)]


def rounded(W: Tensor, kind: str) -> Tensor:
    """What codes of W stand for."""
    layer = quantised(W.shape[1], W.shape[0], kind)
    put_back(layer, requantised(layer, W)[0])
    return numbers(layer).double()


def parted(W: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The principal part of rank r, and the rest."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    part = (U[:, :r] * S[:r]) @ Vh[:r]
    return part, W - part


@pytest.mark.parametrize("kind", KINDS)
def test_what_rounding_the_residual_costs(kind: str) -> None:
    """PiSSA on codes should quantise its residual after all, as its authors do with a weight that is not quantised.

    Of a plain weight the authors' way loses less than quantising the weight. Of codes it loses what keeping them does
    not lose at all, and ends farther from the weight before quantising than the codes were.
    """
    W = decaying()
    size, codes = W.norm(), rounded(W, kind)
    plain = (codes - W).norm() / size
    part, rest = parted(W, 16)
    authors = (part + rounded(rest, kind) - W).norm() / size
    assert authors < 0.9 * plain
    part, rest = parted(codes, 16)
    again = part + rounded(rest, kind)
    moved, left = (again - codes).norm() / size, (again - W).norm() / size
    low, high = {"nf4": (0.05, 0.08), "fp4": (0.06, 0.11), "int8": (0.003, 0.007)}[kind]
    assert low < moved < high
    assert left > 1.1 * plain


@pytest.mark.parametrize("name", TAKE_OVER)
@pytest.mark.parametrize("kind", KINDS)
def test_the_codes_stay(kind: str, name: str) -> None:
    """Attaching would change the base, or the start be another model."""
    model = nn.Sequential(quantised(128, 64, kind))
    model(x := torch.randn(4, 128))
    before, y = kept(model), model(x)
    data = [torch.randn(16, 128)] if name in NEED_DATA else None
    attachment = attach(model, small_config(name, FIRST), calibration=data)
    mine = {key: value for key, value in kept(model).items() if not key.startswith("0.adapter")}
    assert {k: v for k, v in mine.items() if k in before and "support" not in k} == {
        k: v for k, v in before.items() if "support" not in k
    }
    if name in STEER:
        attachment.steer(0.0)
    assert torch.equal(model(x), y)
    move(model)
    if name in STEER:
        assert torch.equal(model(x), y)
    detach(model)
    assert kept(model) == before


@pytest.mark.parametrize("name", TAKE_OVER)
def test_the_same_as_the_float_method(name: str) -> None:
    """On codes it would train another model than beside the weight that they stand for."""
    layer = quantised(128, 64, "nf4")
    plain = nn.Linear(128, 64)
    with torch.no_grad():
        plain.weight.copy_(numbers(layer))
        plain.bias.copy_(layer.bias)  # type: ignore[arg-type]
    data = [torch.randn(16, 128)] if name in NEED_DATA else None
    models = [nn.Sequential(layer), nn.Sequential(plain)]
    made = []
    for model in models:
        torch.manual_seed(3)
        made.append(attach(model, small_config(name, FIRST), calibration=data))
    torch.manual_seed(4)
    for p, q in zip(made[0].parameters(), made[1].parameters(), strict=True):
        step = 0.1 * torch.randn_like(p)
        p.data += step
        q.data += step
    x = torch.randn(8, 128)
    y, want = (model(x) for model in models)
    assert torch.allclose(y, want, rtol=0, atol=1e-5)
    grads = [torch.autograd.grad(out.square().sum(), list(at.parameters())) for out, at in zip((y, want), made)]
    for got, wanted in zip(*grads):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def test_dropout_is_that_of_the_float_method() -> None:
    """The start would be dropped too, and the layer lose a part of its own weight in every step."""
    layer = quantised(128, 64, "nf4", bias=False)
    model = nn.Sequential(layer)
    attachment = attach(model, PiSSAConfig(r=8, dropout=0.5, targets=FIRST))
    adapter: Any = attachment.layers["0"]
    torch.manual_seed(0)
    y = model.train()(torch.ones(1, 128))
    torch.manual_seed(0)
    dropped = nn.functional.dropout(torch.ones(1, 128), 0.5)
    A, B, s, W = adapter.A.detach(), adapter.B.detach(), adapter.config.scale, numbers(layer)
    want = torch.ones(1, 128) @ (W - s * B @ A).T + dropped @ (s * B @ A).T
    assert torch.allclose(y, want, atol=1e-4)


def test_a_file_holds_the_start(tmp_path: Any) -> None:
    """Loaded again, PiSSA would take another start away than it was trained beside."""
    model = nn.Sequential(quantised(128, 64, "nf4"))
    attach(model, small_config("pissa", FIRST, niter=1))  # a random decomposition
    move(model)
    y = model(x := torch.randn(4, 128))
    save(model, tmp_path / "adapter")
    detach(model)
    load(model, tmp_path / "adapter")
    assert torch.equal(model(x), y)
