"""What every test of the exchange starts from: one thread, a fixed seed, no network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.exchange.peft_side import base_model


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Random weights are the same in every run, and peft looks nothing up."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def base() -> nn.Module:
    """The model to import to, with mixed flags."""
    model = base_model("llama")
    model.get_parameter("model.norm.weight").requires_grad_(False)
    return model
