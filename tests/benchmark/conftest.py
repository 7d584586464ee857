"""A tiny model and the arithmetic set, made once; git stand-ins for the commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import arithmetic, provenance


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tiny model, pretrained for a moment, and both files."""
    folder = tmp_path_factory.mktemp("tiny")
    arithmetic.write(folder, train=600, test=60, steps=120)
    return folder


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean tree, whatever the state of this one."""
    monkeypatch.setattr(provenance, "commit", lambda results, dirty, root=None: "c" * 40)
