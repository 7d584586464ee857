"""Golden vectors are handed out only if they are what their manifest says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from refs import golden_vectors
from refs.golden_vectors import GOLDEN, GoldenError, manifest, vectors

FILE = "hra/orth_reg.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the HRA vectors with a manifest of their own."""
    shutil.copytree(GOLDEN / "hra", tmp_path / "hra")
    entries = [e for e in manifest()["files"] if e["method"] == "hra"]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entries}))
    return tmp_path


def test_a_copy_reads_the_same(folder: Path) -> None:
    """Else a vector would depend on where it lies."""
    copied = vectors(folder=folder)
    assert [v.file for v in copied] == [v.file for v in vectors("hra")]
    for copy, original in zip(copied, vectors("hra")):
        assert copy.tensors.keys() == original.tensors.keys()
        assert all(torch.equal(copy.tensors[name], original.tensors[name]) for name in copy.tensors)


def test_fields() -> None:
    """Else a vector would not say where its numbers come from."""
    shapes = {e["file"]: {name: stored["shape"] for name, stored in e["tensors"].items()} for e in manifest()["files"]}
    for vector in vectors():
        assert vector.source_repo.startswith("https://github.com/")
        assert len(vector.source_sha256) == len(vector.sha256) == 64
        assert vector.source_commit
        assert vector.source_path
        assert vector.formula
        assert vector.verification
        assert vector.dtype in ("float32", "float64", "bfloat16")
        assert {name: list(tensor.shape) for name, tensor in vector.tensors.items()} == shapes[vector.file]


@pytest.mark.parametrize("method", [None, "hra"])
def test_missing(folder: Path, method: str | None) -> None:
    """Else a lost vector would just be tested no more."""
    (folder / FILE).unlink()
    with pytest.raises(GoldenError, match=rf"no file at .*{FILE}.*Get .*{FILE} again"):
        vectors(method, folder)


def test_damaged(folder: Path) -> None:
    """Else a number changed by accident, or to make a test pass, would count as the authors'."""
    data = bytearray((folder / FILE).read_bytes())
    data[-1] ^= 1
    (folder / FILE).write_bytes(bytes(data))
    with pytest.raises(GoldenError, match=r"SHA-256 [0-9a-f]{64} at .*orth_reg.*, want [0-9a-f]{64}.*Get .*again"):
        vectors(folder=folder)


def test_damaged_after_it_was_listed(folder: Path) -> None:
    """Else reading late would skip the check."""
    vector = next(v for v in vectors(folder=folder) if v.file == FILE)
    (folder / FILE).write_bytes(b"")
    with pytest.raises(GoldenError, match="file of 0 bytes"):
        _ = vector.tensors


def test_unlisted(folder: Path) -> None:
    """Else a vector without a formula and a source could slip in."""
    shutil.copy(folder / FILE, folder / "hra" / "another.safetensors")
    with pytest.raises(GoldenError, match=r"another\.safetensors, which manifest\.json does not list"):
        vectors(folder=folder)


def test_no_manifest(folder: Path) -> None:
    """Else an empty folder would be a complete set."""
    (folder / "manifest.json").unlink()
    with pytest.raises(GoldenError, match="got no manifest"):
        vectors(folder=folder)


def test_manifest_is_no_json(folder: Path) -> None:
    """Else a cut manifest would end in a traceback that names no file."""
    (folder / "manifest.json").write_text('{"files": [')
    with pytest.raises(GoldenError, match=r"manifest that is not JSON .* at .*manifest\.json"):
        vectors(folder=folder)


def test_restored_from_the_repository(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Else nobody would be told where the repository's own vectors come from."""
    monkeypatch.setattr(golden_vectors, "GOLDEN", folder)
    (folder / FILE).unlink()
    with pytest.raises(GoldenError, match=rf"git checkout -- refs/golden/{FILE}"):
        vectors(folder=folder)


def test_an_entry_lacks_a_field(folder: Path) -> None:
    """Else a vector without a formula or a source would end in a traceback."""
    entries = manifest(folder)["files"]
    del entries[0]["formula"]
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    with pytest.raises(GoldenError, match=rf"entry of {entries[0]['file']} without formula"):
        vectors(folder=folder)


def test_listed_twice(folder: Path) -> None:
    """Else one file could hide another in the counts."""
    entries = manifest(folder)["files"]
    (folder / "manifest.json").write_text(json.dumps({"files": [*entries, entries[0]]}))
    with pytest.raises(GoldenError, match="got 25 entries for 24 files"):
        vectors(folder=folder)


def test_unknown_method() -> None:
    """Else a misspelt method would be an empty set of tests."""
    with pytest.raises(KeyError, match="got method 'hrra', want one of antipasto3, "):
        vectors("hrra")
