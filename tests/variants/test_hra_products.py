"""HRA as one step of rank r: equal to its reflections one after the other, whatever the vectors are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.variants.beside_peft import linear
from variants import HRAConfig, attach


def hra(layer: nn.Linear, r: int, **options: Any) -> Any:
    """An HRA adapter in the layer's dtype."""
    return attach(layer, HRAConfig(r=r, dtype=str(layer.weight.dtype).split(".")[1], **options)).layers[""]


def one_by_one(x: Tensor, U: Tensor) -> Tensor:
    """x H_{r-1} ... H_0."""
    for u in U.flip(0):
        x = x - 2 * (x @ u)[..., None] * u / (u @ u)
    return x


def gradients(y: Tensor, cotangent: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Of the leaves."""
    return torch.autograd.grad(y, leaves, cotangent)


def vectors(kind: str, r: int, d: int) -> Tensor:
    """Rows of a kind, in float64."""
    U = torch.randn(r, d, dtype=torch.float64)
    if kind == "paired":
        U = U[: r // 2].repeat_interleave(2, dim=0)
    if kind == "collinear":
        U = U[:1] * torch.linspace(-2, 3, r, dtype=torch.float64)[:, None]
    if kind == "nearly collinear":
        U = U[:1] + 1e-9 * U
    if kind == "of many lengths":
        U = U * torch.logspace(-12, 12, r, dtype=torch.float64)[:, None]
    return U


@pytest.mark.parametrize("kind", ["plain", "paired", "collinear", "nearly collinear", "of many lengths"])
@pytest.mark.parametrize(("r", "d"), [(2, 12), (8, 12), (12, 12), (16, 12)])
def test_equals_the_reflections_one_by_one(kind: str, r: int, d: int) -> None:
    """Otherwise the triangular system would stand for another product, or lose digits where vectors line up."""
    layer = linear(d, 5)
    adapter = hra(layer, r)
    U = vectors(kind, r, d)
    with torch.no_grad():
        adapter.U.copy_(U)
    x, cotangent = torch.randn(4, d, dtype=torch.float64, requires_grad=True), torch.randn(4, 5, dtype=torch.float64)
    U.requires_grad_()
    want_y = nn.functional.linear(one_by_one(x, U), layer.weight, layer.bias)
    got = (layer(x), *gradients(layer(x), cotangent, x, adapter.U))
    want = (want_y, *gradients(want_y, cotangent, x, U))
    for own, other in zip(got, want):
        # Row by row: where the vectors are of many lengths, so are their gradients.
        error = (own - other).abs().amax(-1) / other.abs().amax(-1).clamp(min=1e-300)
        assert error.max() <= 1e-12


@pytest.mark.parametrize("r", [1, 3, 12])
@pytest.mark.parametrize("base", [torch.float64, torch.float32])
def test_gram_schmidt_mirrors_at_the_span(r: int, base: torch.dtype) -> None:
    """Otherwise odd ranks, one vector or as many as there are inputs would be something else than I - 2 P."""
    layer = linear(12, 5, dtype=base)
    U = hra(layer, r, gram_schmidt=True).U.detach().double()
    P = U.T @ torch.linalg.solve(U @ U.T, U)
    x = torch.randn(4, 12).to(base)
    want = (x.double() - 2 * x.double() @ P) @ layer.weight.double().T + layer.bias.double()
    assert (layer(x) - want).abs().max() <= (1e-12 if base == torch.float64 else 1e-5)


def test_zero_vector_is_nan() -> None:
    """Otherwise a direction that is none would silently be left out: peft and the formula give 0 / 0."""
    layer = linear(12, 5)
    adapter = hra(layer, 4)
    with torch.no_grad():
        adapter.U[2] = 0
    assert bool(layer(torch.randn(3, 12, dtype=torch.float64)).isnan().all())


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gram_schmidt", [False, True])
def test_half_precision_is_reflected_in_float32(base: torch.dtype, gram_schmidt: bool) -> None:
    """Otherwise parts of the weight would be left out, or U learn from rounded inputs."""
    layer = linear(64, 100, dtype=base)
    adapter: Any = attach(layer, HRAConfig(r=8, gram_schmidt=gram_schmidt)).layers[""]
    with torch.no_grad():
        adapter.U.add_(0.1 * torch.randn_like(adapter.U))
    exact = linear(64, 100)
    truth = hra(exact, 8, gram_schmidt=gram_schmidt)
    with torch.no_grad():
        for own, other in ((exact.weight, layer.weight), (exact.bias, layer.bias), (truth.U, adapter.U)):
            own.copy_(other)
    x, g = torch.randn(70, 64).to(base), torch.randn(70, 100).to(base)
    got = gradients(layer(x), g, adapter.U)[0]
    want = gradients(exact(x.double()), g.double(), truth.U)[0]
    assert (got - want).norm() <= 1e-5 * want.norm()
    # The output is as exact as its dtype, or as the reflections in float32: half precision would be off by 1e-3.
    limit = max(2 * torch.finfo(base).eps, 1e-5)
    assert (layer(x) - exact(x.double())).norm() <= limit * exact(x.double()).norm()
