"""What is counted is what is there: by hand for LoRA, and for adapters that waste in one way each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.cost.counts import Counts, count, matmul_flops
from conformance.cost.memory import memory_of
from conformance.cost.points import Point
from conformance.cost.subjects import Contender, bare, contenders, layer_at, peft_reference, variant
from refs.subject import Host, Subject
from subjects.own.roster import ENTRIES

POINT = Point(128, 48, r=4)
D, N, R = POINT.d, POINT.tokens, POINT.r


def entry(name: str) -> Contender:
    """A variant under its default options."""
    return next(c for c in contenders(ENTRIES) if c.name == name)


class Adapted(nn.Module):
    """LoRA on a layer, with a change that wastes something."""

    def __init__(self, waste: Callable[[Adapted, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.base = layer_at(POINT)
        self.A, self.B = nn.Parameter(torch.randn(R, D)), nn.Parameter(torch.randn(D, R))
        self.waste = waste

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.base(x), F.linear(x, self.A), self.B.t())
        return self.waste(self, x, y)


def wasteful(waste: Callable[[Adapted, Tensor, Tensor], Tensor]) -> Counts:
    """The counts of LoRA with this waste."""
    layer = Adapted(waste)
    return count(Subject(Host(layer), layer.base), POINT)


@cache
def lean() -> Counts:
    """The counts of LoRA that wastes nothing."""
    return wasteful(lambda layer, x, y: y)


def test_flops_by_hand() -> None:
    """The counter would miss a product: x A^T and h B^T, and two gradients of each."""
    base = count(bare(POINT), POINT)
    assert (base.forward_flops, base.flops) == (2 * N * D * D, 4 * N * D * D)
    lora = count(variant(entry("lora"), POINT), POINT)
    assert lora.forward_flops == base.forward_flops + 4 * N * D * R
    assert lora.flops / base.flops == pytest.approx(1 + 3 * R / D)
    assert lean().flops == lora.flops


def test_what_lora_saves_by_hand() -> None:
    """The output of A alone, (tokens, r), and not the input, which the layer below holds anyway."""
    lora = count(variant(entry("lora"), POINT), POINT)
    assert (lora.saved, lora.held) == (4 * N * R, 4 * N * R)
    assert lora.trainable == 2 * D * R
    assert lora.adapter_bytes == 4 * lora.trainable
    assert count(bare(POINT), POINT).saved == 0


def test_what_the_bare_layer_allocates() -> None:
    """Memory would be counted that is not taken, or taken and not counted: output and gradient of the input."""
    base = count(bare(POINT), POINT)
    assert (base.peak, base.largest, base.held) == (2 * 4 * N * D, 4 * N * D, 0)


def test_two_counts_are_equal() -> None:
    """A gate on a count would open and shut by itself."""
    assert count(variant(entry("hra"), POINT), POINT) == count(variant(entry("hra"), POINT), POINT)


class Hoard(torch.autograd.Function):
    """Keeps a tensor where autograd's record does not show it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        ctx.hidden = y + 1
        return y.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def in_place(layer: Adapted, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        torch.zeros(N, D).addmm_(x, layer.base.weight.t())
    return y


WASTES = {
    "one more product": (lambda layer, x, y: y + 0 * (x.detach() @ layer.base.weight), "flops", 2 * N * D * D),
    "a product into a given tensor": (in_place, "flops", 2 * N * D * D),
    "products with a vector": (lambda layer, x, y: y + layer.base.weight.mv(x.detach()[0]), "flops", 2 * D * D),
    "the weight formed": (lambda layer, x, y: F.linear(x, layer.base.weight + layer.B @ layer.A), "largest", 4 * D * D),
    "the output squared": (lambda layer, x, y: y * y.detach(), "saved", 4 * N * D),
    "a copy out of autograd's sight": (lambda layer, x, y: Hoard.apply(y), "held", 4 * N * D),
    "a large temporary": (lambda layer, x, y: y + x.new_zeros(4 * N, D)[:N], "peak", 4 * 2 * N * D),
}


@pytest.mark.parametrize("name", WASTES)
def test_a_waste_is_seen(name: str) -> None:
    """A gate would let an adapter pass that wastes this."""
    waste, what, at_least = WASTES[name]
    found = getattr(wasteful(waste), what)
    floor = 0 if what == "largest" else getattr(lean(), what)
    assert found - floor >= at_least


def test_the_lean_one_forms_nothing() -> None:
    """The test above would be passed by any adapter."""
    assert lean().largest == 4 * N * D
    assert lean().saved == 4 * N * R


def test_flops_of_products_that_the_library_leaves_out() -> None:
    """An adapter could work in place and cost nothing."""
    a, b, v, y = torch.randn(3, 5), torch.randn(5, 7), torch.randn(5), torch.zeros(3, 7)
    assert matmul_flops(lambda: a @ b) == matmul_flops(lambda: y.addmm_(a, b)) == 2 * 3 * 5 * 7
    assert matmul_flops(lambda: torch.mm(a, b, out=y)) == 2 * 3 * 5 * 7
    assert matmul_flops(lambda: a.mv(v)) == matmul_flops(lambda: y[:, 0].addmv_(a, v)) == 2 * 3 * 5
    assert matmul_flops(lambda: v.dot(v)) == 2 * 5
    triangle = torch.eye(5)
    assert matmul_flops(lambda: torch.linalg.solve_triangular(triangle, b, upper=False)) == 5 * 5 * 7


def test_memory_by_hand() -> None:
    """The record would leave out what is freed at once, or count what was there before."""
    before = torch.zeros(1000)
    found = memory_of(lambda: (before + 1).repeat(3).sum())
    assert found.largest == 12_000
    assert 16_000 <= found.peak < 17_000
    assert found.left == 4


def test_a_count_leaves_threads_and_garbage_collection_alone() -> None:
    """A measurement would change what comes after it."""
    import gc

    before = torch.get_num_threads(), gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        memory_of(lambda: 1 / 0)
    assert (torch.get_num_threads(), gc.isenabled()) == before


def test_a_method_that_peft_lacks_has_no_rival() -> None:
    """A variant would be held against a tuner of another name."""
    assert peft_reference(entry("antipasto")) is None
    found = peft_reference(entry("eva"))
    assert found is not None
    assert found.id == "peft:lora"
