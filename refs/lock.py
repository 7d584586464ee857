"""The lock: what each reference was when it was audited, and whether it still is.

``lock.json`` holds, per referenced object, the SHA-256 of its source text and of its meaning (the syntax tree without
comments, docstrings and formatting). Sources are found and read as files: nothing is imported, so this is quick.
``python -m refs.lock`` writes the lock anew from what is installed; do that when you move the pin, and audit again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

LOCK_FILE = Path(__file__).with_name("lock.json")
REPOSITORIES = {"peft": ("https://github.com/huggingface/peft", "Apache-2.0", "src/")}


class Drift(StrEnum):
    """How far a referenced object is from the lock."""

    NONE = "NONE"
    MINOR = "MINOR"
    """Comments, docstrings or formatting only."""
    MAJOR = "MAJOR"
    """The code changed, or it is not there, or the lock does not know it."""


@dataclass(frozen=True)
class Located:
    """The source of one object as installed."""

    line: int
    text: str
    meaning: str


@dataclass(frozen=True)
class Check:
    """One object held against the lock. ``line`` is where it is now (0 if it is not there)."""

    object: str
    drift: Drift
    reason: str
    line: int


def locate(object_id: str) -> Located | None:
    """Find ``package/file.py::Qualified.name`` among the installed packages; None if it is not there."""
    relative, _, qualified = object_id.partition("::")
    spec = importlib.util.find_spec(relative.split("/")[0])
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent.parent / relative
    if not file.is_file():
        return None
    return source_of(file.read_text(encoding="utf-8"), qualified)


def source_of(source: str, qualified: str) -> Located | None:
    """Find ``Qualified.name`` in the text of a module."""
    node: Any = ast.parse(source)
    for part in qualified.split("."):
        node = next((n for n in node.body if getattr(n, "name", None) == part), None)
        if node is None:
            return None
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return Located(node.lineno, text, _meaning(node))


def read_lock(path: Path = LOCK_FILE) -> dict[str, Any]:
    """The lock as data."""
    lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return lock


def check(object_id: str, lock: dict[str, Any]) -> Check:
    """Hold one installed object against the lock."""
    found = locate(object_id)
    known = lock["objects"].get(object_id)
    if found is None:
        return Check(object_id, Drift.MAJOR, "not found in the installed package", 0)
    if known is None:
        return Check(object_id, Drift.MAJOR, "not in refs/lock.json", found.line)
    if sha(found.text) == known["sha256"]:
        return Check(object_id, Drift.NONE, "", found.line)
    if sha(found.meaning) == known["meaning_sha256"]:
        return Check(object_id, Drift.MINOR, "comments or formatting changed", found.line)
    return Check(object_id, Drift.MAJOR, "the code changed", found.line)


def make_lock(objects: tuple[str, ...]) -> dict[str, Any]:
    """The lock for these objects as they are installed now. LookupError if one is not there."""
    packages = {}
    for package in sorted({o.split("/")[0] for o in objects}):
        repo, licence, prefix = REPOSITORIES[package]
        version = metadata.version(package)
        packages[package] = {
            "version": version,
            "repo": repo,
            "commit": f"v{version}",
            "path_prefix": prefix,
            "licence": licence,
        }
    entries = {}
    for object_id in sorted(set(objects)):
        found = locate(object_id)
        if found is None:
            raise LookupError(f"{object_id} is not in the installed packages; mend its name in refs/methods/")
        entries[object_id] = {"sha256": sha(found.text), "meaning_sha256": sha(found.meaning), "line": found.line}
    return {"packages": packages, "objects": entries}


def _meaning(node: ast.AST) -> str:
    """A dump of the tree that is the same in every Python version: class names and non-empty fields."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, False):
        node = type(node)(**{**dict(ast.iter_fields(node)), "body": node.body[1:]})
    fields = []
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "kind", "type_comment", "type_params") or value is None or value == []:
            continue
        items = value if isinstance(value, list) else [value]
        fields.append(f"{name}=[{','.join(_meaning(v) if isinstance(v, ast.AST) else repr(v) for v in items)}]")
    return f"{type(node).__name__}({','.join(fields)})"


def sha(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    """Write ``lock.json`` for every object that a registered method refers to."""
    from refs.registry import METHODS

    lock = make_lock(tuple(o for method in METHODS for o in method.live.objects))
    LOCK_FILE.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{LOCK_FILE}: {len(lock['objects'])} objects of {', '.join(lock['packages'])}")


if __name__ == "__main__":
    main()
