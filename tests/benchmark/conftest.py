"""A tiny model and the arithmetic set, made once; git stand-ins for the commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark import arithmetic, provenance


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tiny model, pretrained for a moment, and both files."""
    folder = tmp_path_factory.mktemp("tiny")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    arithmetic.write(folder, train=600, test=60, steps=120)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean tree, whatever the state of this one."""
    monkeypatch.setattr(provenance, "commit", lambda results, dirty, root=None: "c" * 40)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models run faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
