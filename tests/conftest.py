"""What holds in every test, and which tests a plain ``pytest`` runs."""

from __future__ import annotations

import pytest
import torch

EVERYDAY = "not slow and not integration"


def pytest_configure(config: pytest.Config) -> None:
    """``pytest`` without paths and without ``-m`` is the everyday loop; whatever is named is run."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.markexpr:
        config.option.markexpr = EVERYDAY


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One thread, before any fixture: small tensors are slower on many, and the test machine is shared."""
    torch.set_num_threads(1)
