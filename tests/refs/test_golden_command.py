"""``python -m refs.golden FOLDER`` says of any folder of the form whether its vectors reproduce."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from refs.golden import main
from refs.golden_vectors import GOLDEN, manifest

FILE = "road/road2_perturbed_in7_out6_bias_bnone.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of ROAD's vectors with a manifest of their own."""
    shutil.copytree(GOLDEN / "road", tmp_path / "road")
    write(tmp_path, [e for e in manifest()["files"] if e["method"] == "road"])
    return tmp_path


def write(folder: Path, entries: list[dict[str, Any]]) -> None:
    """The manifest of a folder."""
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))


def change(folder: Path, **changes: Any) -> None:
    """What the manifest says of ``FILE``."""
    entries = manifest(folder)["files"]
    next(e for e in entries if e["file"] == FILE).update(changes)
    write(folder, entries)


def test_a_folder_that_reproduces(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else vectors of another place could not be checked."""
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == "road: 13 of 13 vectors reproduced\n"


def test_another_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a number that is not what the formula gives would pass."""
    tensors = load_file(folder / FILE)
    tensors["y"][0] += 1e-5
    save_file(tensors, folder / FILE)
    change(folder, file_sha256=hashlib.sha256((folder / FILE).read_bytes()).hexdigest())
    assert main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert f"{FILE}: y: error " in out
    assert "road: 12 of 13 vectors reproduced" in out


def test_the_manifest_decides(folder: Path) -> None:
    """Else the limit would be ours, and not that of who recorded the vector."""
    entry = next(e for e in manifest(folder)["files"] if e["file"] == FILE)
    told = {**entry["verification"], "y": {"max_abs": 1e-12}}
    change(folder, verification=told)
    assert main([str(folder)]) == 1


def test_an_unknown_variant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a vector that nothing recomputes would count as reproduced."""
    change(folder, variant="road_3")
    assert main([str(folder)]) == 1
    assert f"{FILE}: cannot be recomputed: KeyError: \"got variant 'road_3'" in capsys.readouterr().out


@pytest.mark.parametrize("files", [[], None])
def test_nothing_listed(tmp_path: Path, files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Else an empty folder would reproduce."""
    write(tmp_path, files)
    assert main([str(tmp_path)]) == 2
    assert "manifest" in capsys.readouterr().err


def test_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a damaged file would be compared."""
    (folder / FILE).write_bytes(b"")
    assert main([str(folder)]) == 2
    assert "got a file of 0 bytes" in capsys.readouterr().err
