"""Memory of a call on the CPU, by the allocator's own record: what it allocates and what is alive at once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.autograd.profiler import profile


@dataclass(frozen=True)
class Memory:
    """Bytes: ``peak`` alive at once above what was there before, ``largest`` in one allocation, ``left`` at the end."""

    peak: int
    largest: int
    left: int


def memory_of(call: Callable[[], object]) -> Memory:
    """What ``call()`` allocates. What it returns is alive at the end.

    The record is the profiler's, so temporary tensors inside a kernel count too. One thread: with more, some kernels
    take a buffer for each.
    """
    with single_thread(), collected(), profile(use_device=None, profile_memory=True) as record:
        kept = call()
    results = record.kineto_results
    assert results is not None
    sizes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for size in sizes:
        alive += size
        peak = max(peak, alive)
    del kept
    return Memory(peak, max(sizes, default=0), alive)


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def collected() -> Iterator[None]:
    """Nothing is collected inside: a cycle would be freed now or then."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
