"""What every test of the runtime starts from: one thread and a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    """Random weights, initial values and inputs are the same in every run, in any order of the tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
