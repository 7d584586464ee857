"""Which code and which files a row of the table comes from."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from conformance.planning.names import BadRequest
from conformance.planning.revisions import git

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "accelerate", "tokenizers")
CHARACTERS = 12
"""Of a digest, in the table."""


def commit(results: Path, *, dirty: bool, root: Path = ROOT) -> str:
    """The commit of this code; with ``dirty``, ``COMMIT+DIGEST`` where files differ from it, by what differs.

    BadRequest: the code is not in git, or files differ and ``dirty`` was not asked for. The files of results do not
    count.
    """
    head = git(root, "rev-parse", "HEAD")
    if head is None or git(root, "ls-files", "--error-unmatch", "benchmark/__init__.py") is None:
        raise BadRequest(
            f"commit: got {root}, which is not committed in git, want a commit to write into the row. "
            "Run it from a clone of the repository."
        )
    outside = [".", *(f":(exclude){part}" for part in _inside(results, root))]
    changed = git(root, "status", "--porcelain", "--untracked-files=all", "--", *outside) or ""
    if not changed:
        return head.strip()
    if not dirty:
        files = [line[3:] for line in changed.splitlines()]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        raise BadRequest(
            f"commit: got changes that are not committed ({', '.join(files[:3])}{more}), want a commit that has all "
            "of the code. Commit them, or pass --dirty to have the row say that they were there."
        )
    return f"{head.strip()}+{_state(root, changed)}"


def _inside(results: Path, root: Path) -> list[str]:
    """What of the code's folder is no code: the folder of the results, or their own files in a folder that has code."""
    results, root = results.resolve(), root.resolve()
    if not results.is_relative_to(root):
        return []
    folder = results.parent.relative_to(root).as_posix()
    if not git(root, "ls-files", "--", folder):
        return [folder]
    own = (results.name, f"{results.stem}-answers", "benchmark.md", "benchmark.svg")
    return [(results.parent / name).relative_to(root).as_posix() for name in own]


def _state(root: Path, changed: str) -> str:
    """A digest of all that differs from the commit, new files included."""
    told = hashlib.sha256((git(root, "diff", "HEAD") or "").encode("utf-8", "surrogateescape"))
    for line in changed.splitlines():
        path = root / line[3:].strip('"')
        if line.startswith("??") and path.is_file():
            told.update(path.read_bytes())
    return told.hexdigest()[:CHARACTERS]


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what is computed."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def digest(*paths: Path) -> str:
    """Of the bytes of files, with their names."""
    told = hashlib.sha256()
    for path in sorted(paths):
        told.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                told.update(part)
    return told.hexdigest()[:CHARACTERS]


def model_digest(folder: Path) -> str:
    """Of a model's configuration, weights and tokenizer: every file in its folder."""
    return digest(*(path for path in folder.iterdir() if path.is_file()))


def digest_of(data: Any) -> str:
    """Of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:CHARACTERS]
