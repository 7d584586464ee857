"""DoRA's row norms by expansion: as exact as the rows themselves, also where the terms cancel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.variants.beside_peft import linear
from variants import DoRAConfig, attach


def dora(layer: nn.Linear, r: int, dtype: str) -> Any:
    """A DoRA adapter on ``layer`` with s = 1."""
    return attach(layer, DoRAConfig(r=r, alpha=float(r), dtype=dtype)).layers[""]


def true_norm(layer: nn.Linear, adapter: Any) -> Tensor:
    """|W + B A|_row in float64."""
    V = layer.weight.double() + adapter.B.double() @ adapter.A.double()
    return torch.linalg.vector_norm(V, dim=1).detach()


def assert_norm(layer: nn.Linear, adapter: Any, limit: float) -> None:
    """Each row's relative error is within ``limit``."""
    want = true_norm(layer, adapter)
    got, _ = adapter.norm(layer.weight)
    assert ((got.double() - want).abs() / want).max() <= limit


@pytest.mark.parametrize("residue", [0.5, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize(("dtype", "eps"), [("float32", 1.2e-7), ("float64", 2.3e-16)])
def test_where_the_update_nearly_cancels_the_weight(residue: float, dtype: str, eps: float) -> None:
    """Otherwise the square of a small difference would be the difference of large squares: no digit of it right."""
    layer = linear(64, 20, dtype=getattr(torch, dtype))
    r = 20
    adapter = dora(layer, r, dtype)
    with torch.no_grad():
        adapter.A.copy_(layer.weight)  # B A = -(1 - residue) W in every second row, and B A = W / 2 in the others
        adapter.B.copy_(torch.diag(torch.tensor([residue - 1, 0.5] * 10)))
    # Forming the row rounds at the size of W, whatever is left of it.
    assert_norm(layer, adapter, 40 * eps / residue)
    y = layer(torch.randn(5, 64, dtype=layer.weight.dtype))
    assert bool(torch.isfinite(y).all())


def test_where_the_update_cancels_itself() -> None:
    """Otherwise two large and nearly opposite parts of B A, which is small, would leave no digit of the norm."""
    layer = linear(64, 20, dtype=torch.float32)
    adapter = dora(layer, 2, "float32")
    with torch.no_grad():
        adapter.A[1] = adapter.A[0] + 1e-3 * torch.randn(64)
        adapter.B.copy_(1e3 * torch.tensor([1.0, -1.0]).expand(20, 2))
    assert_norm(layer, adapter, 1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_weights_are_read_in_parts(scale: float, base: torch.dtype) -> None:
    """Otherwise a part of the rows would be left out, or their norm be rounded to the weight's few digits."""
    layer = linear(48, 100, dtype=base)
    adapter = dora(layer, 8, "float32")
    with torch.no_grad():
        adapter.B.copy_(scale * torch.randn_like(adapter.B))
    assert_norm(layer, adapter, 3e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_zero_rows_keep_the_factor_one(bias: bool) -> None:
    """Otherwise 0 / 0 would turn the output, or the gradient of m, into NaN."""
    layer = linear(12, 6, bias=bias)
    with torch.no_grad():
        layer.weight[2] = 0
    adapter = dora(layer, 3, "float64")
    with torch.no_grad():
        adapter.B[:, 0] += torch.tensor([1.0, 1, 0, 1, 1, 1])
    x = torch.randn(5, 12, dtype=torch.float64)
    y = layer(x)
    assert torch.equal(y[:, 2], (layer.bias[2] if bias else torch.zeros(())).expand(5).double())
    y.backward(torch.randn_like(y))
    assert adapter.m.grad[2] == 0
    assert adapter.B.grad[2].abs().min() > 0
    assert bool(torch.isfinite(adapter.m.grad).all())


def test_fresh_adapter_is_the_base_model_to_the_last_bit() -> None:
    """Otherwise m and the norm would be two roundings of one number, and their ratio not 1."""
    for base in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for adapter in ("float32", "bfloat16"):
            layer = linear(33, 70, dtype=base)
            x = torch.randn(9, 33).to(base)
            want = layer(x)
            attach(layer, DoRAConfig(r=4, dtype=adapter))
            for training in (True, False):
                layer.train(training)
                assert torch.equal(layer(x), want)


def test_nothing_as_large_as_the_weight_is_made() -> None:
    """Otherwise every forward would allocate another weight, which is what the expansion is for."""
    layer = linear(300, 200, dtype=torch.float32)
    dora(layer, 4, "float32")
    x = torch.randn(2, 300, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        layer(x).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events())  # type: ignore[attr-defined]
    assert 0 < largest < layer.weight.numel() * 4 / 2
