"""Products with a thin matrix: equal to the plain ones, without their copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from variants import ROADConfig, attach, config_for
from variants.runtime.numerics.products import ROWS, plus_product, thin_product

SHAPES = [(), (1,), (0,), (ROWS,), (ROWS + 1,), (3, 40), (2, 0, 5), (200,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wide", [torch.float64, torch.float32])
def test_thin_product(shape: tuple[int, ...], dtype: torch.dtype, wide: torch.dtype) -> None:
    """Otherwise rows would be left out at the ends of the parts, or gradients be rounded to the activations' digits."""
    x = torch.randn(*shape, 12).to(dtype).requires_grad_()
    A = torch.randn(3, 12, dtype=wide, requires_grad=True)
    g = torch.randn(*shape, 3, dtype=wide)
    got, want = thin_product(x, A), x.double() @ A.double().T
    assert got.dtype == wide
    limit = 50 * torch.finfo(wide).eps
    _close(got, want, limit)
    got_x, got_A = torch.autograd.grad(got, (x, A), g)
    want_x, want_A = torch.autograd.grad(want, (x, A), g.double())
    assert got_x.dtype == dtype
    _close(got_x, want_x, max(limit, 2 * torch.finfo(dtype).eps))
    _close(got_A, want_A, limit)


def test_thin_product_has_second_derivatives() -> None:
    """Otherwise penalties on gradients would fail, or be wrong, for half-precision layers alone."""
    x, A = torch.randn(70, 5, requires_grad=True), torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    got, want = (
        torch.autograd.grad(torch.autograd.grad(h.square().sum(), A, create_graph=True)[0].square().sum(), (x, A))
        for h in (thin_product(x, A), x.double() @ A.T)
    )
    for own, other in zip(got, want):
        _close(own, other, 1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_plus_product(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Otherwise the fused sum would have another shape, sign or scale."""
    y = torch.randn(*shape, 7).to(dtype).requires_grad_()
    h, M = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((*shape, 3), (3, 7)))
    got, want = plus_product(y, h, M, -0.5), y.double() - 0.5 * h @ M
    _close(got, want, 1e-14)
    g = torch.randn_like(want)
    pairs = zip(torch.autograd.grad(got, (y, h, M), g), torch.autograd.grad(want, (y, h, M), g))
    for own, other in pairs:
        _close(own, other, 1e-14)


SAVED = {"lora": 2 * 4 * 512, "delora": 0.1e6, "hra": 0.17e6, "dora": 2.15e6, "road": 2.15e6, "ia3": 2.1e6, "ia3_ff": 0}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
def test_what_the_backward_keeps(name: str, base: torch.dtype) -> None:
    """Otherwise an adapter would cost the activations' memory several times: the sums here are in bytes at 512 rows."""
    layer = torch.nn.Linear(1024, 1024).to(base)
    attach(layer, config_for(name, **({} if name in ("road", "ia3", "ia3_ff") else {"r": 16})))
    x = torch.randn(512, 1024).to(base).requires_grad_()
    known = {t.untyped_storage().data_ptr() for t in (x, *layer.parameters(), *layer.buffers())}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    assert sum(t.untyped_storage().nbytes() for t in saved.values()) <= max(SAVED[name], 0.04e6) * 1.05


@pytest.mark.parametrize("kind", ["road_1", "road_2", "road_4"])
def test_road_in_one_pass_equals_its_matrix(kind: str) -> None:
    """Otherwise halves would be changed over, or a sign of J lost, in the fused form."""
    layer = torch.nn.Linear(5, 24).double()
    adapter = attach(layer, ROADConfig(kind=kind, group_size=8, dtype="float64")).layers[""]
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(6, 5, dtype=torch.float64)
    y = (x @ layer.weight.T + layer.bias).detach().reshape(6, 3, 2, 4)
    per = {"road_1": 1, "road_2": 2, "road_4": 4}[kind]
    theta, alpha = (t.detach().reshape(3, per, 4) for t in (adapter.theta, adapter.alpha))
    cos, sin = alpha * theta.cos(), alpha * theta.sin()
    c1, c2 = (cos[:, :2], sin[:, 2:]) if kind == "road_4" else (cos.expand(3, 2, 4), sin.expand(3, 2, 4))
    want = torch.stack(
        (y[:, :, 0] * c1[:, 0] - y[:, :, 1] * c2[:, 0], y[:, :, 1] * c1[:, 1] + y[:, :, 0] * c2[:, 1]), 2
    )
    _close(layer(x), want.reshape(6, 24), 1e-14)


def _close(got: Tensor, want: Tensor, limit: float) -> None:
    assert got.shape == want.shape
    if want.numel():
        assert (got.double() - want.double()).abs().max() <= limit * max(1.0, want.abs().max().item())
