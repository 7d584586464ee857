"""Costs that are counted and not timed: the same on every run and every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from conformance.cost.memory import memory_of, single_thread
from conformance.cost.points import Point
from conformance.cost.subjects import input_at
from refs.subject import Subject


@dataclass(frozen=True)
class Counts:
    """One side at one point.

    ``trainable``: parameters; ``adapter_bytes``: of all the adapter's tensors, frozen ones too.
    ``forward_flops``, ``flops``: of the matrix products of the forward, and of both passes (a multiply-add is two).
    ``saved``: bytes of the distinct memory blocks that autograd saves for the backward, without weights, parameters and
    the input. ``held``: bytes alive between the passes beside the output, whoever holds them.
    ``peak``, ``largest``: bytes alive at once during both passes, and in one allocation.
    """

    trainable: int
    adapter_bytes: int
    forward_flops: int
    flops: int
    saved: int
    held: int
    peak: int
    largest: int


def count(subject: Subject, point: Point) -> Counts:
    """The counts of one side."""
    x = input_at(point)
    cotangent = torch.ones_like(x)
    slots = subject.slots().values()

    def forward() -> Tensor:
        return subject(x)

    def both() -> None:
        torch.autograd.backward(forward(), cotangent)

    with single_thread():
        both()  # what a layer keeps from its first call on is no cost of the later ones
        clear(subject, x)
        across, whole = memory_of(forward), memory_of(both)
        return Counts(
            trainable=sum(slot.value.numel() for slot in slots if slot.trainable),
            adapter_bytes=sum(slot.value.numel() * slot.value.element_size() for slot in slots),
            forward_flops=matmul_flops(forward),
            flops=matmul_flops(both),
            saved=saved_bytes(forward, own=[x, *subject.host.parameters(), *subject.host.buffers()]),
            held=across.left - _bytes(forward()),
            peak=whole.peak,
            largest=whole.largest,
        )


def clear(subject: Subject, x: Tensor) -> None:
    """Forget the gradients of the last call: adding to them would be another cost."""
    x.grad = None
    for leaf in subject.host.parameters():
        leaf.grad = None


def matmul_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in ``call()``: 2 m k n for each ``(m, k) x (k, n)``.

    ``torch.utils.flop_counter`` counts products that give a new tensor. Those into a given one, those with a vector and
    triangular solves are added here.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    with counter:
        call()
    return int(counter.get_total_flops())


def saved_bytes(forward: Callable[[], Tensor], own: list[Tensor]) -> int:
    """Bytes of the distinct storages that autograd saves in ``forward()``, without those of ``own``."""
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage  # held, so that no later one gets the same address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward()
    del y
    return sum(storage.nbytes() for storage in saved.values())


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _product(a: Any, b: Any) -> int:
    """(..., m, k) x (..., k, n), or (m, k) x (k,)."""
    return 2 * int(prod(a)) * (int(b[-1]) if len(b) > 1 else 1)


aten = torch.ops.aten
_UNCOUNTED: dict[Any, Any] = {
    aten.addmm_: lambda y, a, b, *_, **__: _product(a, b),
    aten.baddbmm_: lambda y, a, b, *_, **__: _product(a, b),
    aten.addbmm: lambda y, a, b, *_, **__: _product(a, b),
    aten.addbmm_: lambda y, a, b, *_, **__: _product(a, b),
    aten.mv: lambda a, b, *_, **__: _product(a, b),
    aten.addmv: lambda y, a, b, *_, **__: _product(a, b),
    aten.addmv_: lambda y, a, b, *_, **__: _product(a, b),
    aten.dot: lambda a, b, *_, **__: _product(a, b),
    aten.linalg_solve_triangular: lambda a, b, *_, **__: prod(a) * b[-1],
}
