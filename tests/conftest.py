"""What holds in every test."""

from __future__ import annotations

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One thread, before any fixture: small tensors are slower on many, and the test machine is shared."""
    torch.set_num_threads(1)
