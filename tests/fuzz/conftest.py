"""One thread and a fixed seed: with the same examples in every run, everything is the same in every run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    """Weights that no example seeds itself do not depend on the order of the tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
