"""The golden vectors: what the authors' own implementations computed, as numbers; ``refs/golden/`` holds them.

A vector is one safetensors file with the inputs, tensors, outputs and gradients of one layer in one state. The
manifest lists every file with its SHA-256, its formula, the authors' source and how far an independent float64
evaluation of the formula was from the recorded numbers. Only files that are what the manifest says are handed out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

GOLDEN = Path(__file__).with_name("golden")
MANIFEST = "manifest.json"
NEEDED = (
    "file",
    "file_sha256",
    "method",
    "variant",
    "config",
    "dtype",
    "formula",
    "notes",
    "verification",
    "source_repo",
    "source_commit",
    "source_path",
    "source_sha256",
)
"""What the manifest must say of each file."""


class GoldenError(Exception):
    """The folder of golden vectors is not what its manifest says."""


@dataclass(frozen=True, eq=False)
class Vector:
    """One recorded layer. ``tensors`` are as recorded: the authors' names, layouts and dtypes, read on first use."""

    file: str
    method: str
    variant: str
    config: Mapping[str, Any]
    dtype: str
    formula: str
    notes: str
    verification: Mapping[str, Any]
    """Per recorded output: ``max_abs``, its distance from float64; and what else was checked then."""
    source_repo: str
    source_commit: str
    source_path: str
    source_sha256: str
    sha256: str
    folder: Path = GOLDEN

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors by the authors' names. GoldenError if the file changed since it was listed."""
        return load(_read(self.folder, self.file, self.sha256))


def _restore(folder: Path, file: str = "") -> str:
    """What to do about a folder that is not what it should be."""
    path = f"/{file}" if file else ""
    if folder == GOLDEN:
        return f"Restore it from the repository: git checkout -- refs/golden{path}"
    return f"Get {folder}{path} again from where it is from, or correct its {MANIFEST}"


def vectors(method: str | None = None, folder: Path = GOLDEN) -> tuple[Vector, ...]:
    """Every vector of a method (of all without one), sorted by file.

    GoldenError for a file that is missing, damaged or not in the manifest, whatever its method; KeyError for an
    unknown method.
    """
    entries = manifest(folder).get("files")
    if not isinstance(entries, list):
        raise GoldenError(f"got no list of files in {folder / MANIFEST}, want one. {_restore(folder, MANIFEST)}")
    for entry in entries:
        if lacking := [name for name in NEEDED if name not in entry]:
            told = f"got an entry of {entry.get('file', 'no file')} without {', '.join(lacking)} in {folder / MANIFEST}"
            raise GoldenError(f"{told}, want all of {', '.join(NEEDED)}. {_restore(folder, MANIFEST)}")
    _check_folder(folder, entries)
    found = tuple(_vector(folder, e) for e in sorted(entries, key=lambda e: str(e["file"])))
    if method is None:
        return found
    methods = sorted({v.method for v in found})
    if method not in methods:
        raise KeyError(f"got method {method!r}, want one of {', '.join(methods)}")
    return tuple(v for v in found if v.method == method)


def manifest(folder: Path = GOLDEN) -> dict[str, Any]:
    """The manifest as data. GoldenError if there is none or it is no JSON."""
    path = folder / MANIFEST
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GoldenError(
            f"got no manifest at {path}, want one that lists every vector. {_restore(folder, MANIFEST)}"
        ) from None
    except ValueError as error:
        told = f"got a manifest that is not JSON ({error}) at {path}"
        raise GoldenError(f"{told}. {_restore(folder, MANIFEST)}") from error
    if not isinstance(data, dict):
        raise GoldenError(f"got a manifest that is no object at {path}. {_restore(folder, MANIFEST)}")
    return data


def init_facts(method: str, folder: Path = GOLDEN) -> dict[str, Any]:
    """What the authors' initial values were measured to be: distributions, defaults, errors raised."""
    facts: dict[str, Any] = json.loads((folder / method / "init_facts.json").read_text(encoding="utf-8"))
    return facts


def _check_folder(folder: Path, entries: list[dict[str, Any]]) -> None:
    listed = {str(e["file"]): str(e["file_sha256"]) for e in entries}
    if len(listed) != len(entries):
        raise GoldenError(
            f"got {len(entries)} entries for {len(listed)} files in {folder / MANIFEST}. {_restore(folder)}"
        )
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*.safetensors")}
    for file in sorted(there - set(listed)):
        raise GoldenError(
            f"got {folder / file}, which {MANIFEST} does not list; want only listed files, since nobody vouches for "
            f"another. Remove it, or add its entry (formula, source, SHA-256 {_sha((folder / file).read_bytes())})"
        )
    for file, sha256 in listed.items():
        _read(folder, file, sha256)


def _read(folder: Path, file: str, sha256: str) -> bytes:
    path = folder / file
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise GoldenError(
            f"got no file at {path}, want the one that {MANIFEST} lists. {_restore(folder, file)}"
        ) from None
    if (got := _sha(data)) != sha256:
        raise GoldenError(
            f"got a file of {len(data)} bytes with SHA-256 {got} at {path}, want {sha256} as {MANIFEST} says. "
            f"{_restore(folder, file)}"
        )
    return data


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _vector(folder: Path, entry: Mapping[str, Any]) -> Vector:
    return Vector(
        file=entry["file"],
        method=entry["method"],
        variant=entry["variant"],
        config=entry["config"],
        dtype=entry["dtype"].split()[0].split("/")[0],
        formula=entry["formula"],
        notes=entry["notes"],
        verification=entry["verification"],
        source_repo=entry["source_repo"],
        source_commit=entry["source_commit"],
        source_path=entry["source_path"],
        source_sha256=entry["source_sha256"],
        sha256=entry["file_sha256"],
        folder=folder,
    )
