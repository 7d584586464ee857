"""The lock: what each reference was when it was audited, and whether it still is.

``lock.json`` holds, per referenced object, the SHA-256 of its source text and of its meaning (the syntax tree without
comments, docstrings and formatting). Sources are found and read as files: nothing is imported, so this is quick.
``python -m refs.lock`` writes the lock anew from what is installed; do that when you move the pin, and audit again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

LOCK_FILE = Path(__file__).with_name("lock.json")
GOLDEN = Path(__file__).with_name("golden")
WRITE_IT = "Write it: conformance record lock --entries MODULE:ATTRIBUTE"
"""What to do about a lock of one's own that is missing or out of date."""


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
class Checked:
    """One object held against the lock. ``line`` is where it is now (0 if it is not there)."""

    object: str
    drift: Drift
    reason: str
    line: int


def locate(object_id: str) -> Located | None:
    """Find ``package/file.py::Qualified.name`` among the installed packages; None if it is not there."""
    relative, _, qualified = object_id.partition("::")
    root = root_of(package_of(object_id))
    if root is None:
        return None
    file = root.parent / relative
    if not file.is_file():
        return None
    return _source_at(file, file.stat().st_mtime_ns, qualified)


def package_of(object_id: str) -> str:
    """The package of ``package/file.py::name``, or the module of ``module.py::name``."""
    return object_id.partition("::")[0].split("/")[0].removesuffix(".py")


def root_of(package: str) -> Path | None:
    """The folder of an installed package, or the file of a module; None if it is not there."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that was made by hand has none
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations is not None else Path(spec.origin)


@cache
def _source_at(file: Path, changed: int, qualified: str) -> Located | None:
    """Many methods refer to the same long files; ``changed`` tells one state of a file from the next."""
    return source_of(file.read_text(encoding="utf-8"), qualified)


def source_of(source: str, qualified: str) -> Located | None:
    """Find ``Qualified.name`` in the text of a module."""
    node: Any = _parsed(source)
    if not qualified:  # the whole file
        return Located(1, source, _meaning(node))
    for part in qualified.split("."):
        same_name = [n for n in node.body if getattr(n, "name", None) == part]
        if not same_name:
            return None
        node = same_name[-1]  # a later definition replaces an earlier one
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return Located(node.lineno, text, _meaning(node))


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def check_transcription(module: str, lock: dict[str, Any], golden: tuple[str, ...] | None = None) -> list[Checked]:
    """Hold a transcription's file, and every golden vector that proves it, against the lock."""
    text = file_text(module)
    known = lock["transcriptions"].get(module)
    if text is None or known is None:
        reason = "not found" if text is None else "not in refs/lock.json"
        return [Checked(module, Drift.MAJOR, reason, 0)]
    checks = [_drift(module, text, _meaning(ast.parse(text)), known, 1)]
    for used in sorted({*used_by(text), *known["uses"]}):
        theirs, locked = file_text(used), known["uses"].get(used)
        if theirs is None or locked is None:
            checks.append(Checked(used, Drift.MAJOR, "not found" if theirs is None else "not in refs/lock.json", 0))
        else:
            checks.append(_drift(used, theirs, _meaning(ast.parse(theirs)), locked, 1))
    variants = known.get("variants", {})
    vectors = {f: s for f, s in known["vectors"].items() if golden is None or variants.get(f) in golden}
    for variant in sorted(set(golden or ()) - set(variants.values())):
        checks.append(Checked(f"golden vectors of {variant}", Drift.MAJOR, "not in refs/lock.json", 0))
    for file in sorted(vectors):
        path = GOLDEN / file
        ok = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == vectors[file]
        checks.append(
            Checked(f"golden/{file}", Drift.NONE if ok else Drift.MAJOR, "" if ok else "not the locked file", 0)
        )
    return checks


def read_lock(path: Path = LOCK_FILE) -> dict[str, Any]:
    """The lock as data."""
    lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return lock


class LockError(Exception):
    """A lock of somebody's own that cannot be read: what was found, and what is wanted."""

    def __init__(self, got: str, want: str) -> None:
        super().__init__(f"got {got}, want {want}")
        self.got, self.want = got, want


def read_own(path: Path) -> dict[str, Any]:
    """The lock beside an entry. LockError if it is not there or is no lock."""
    want = f"the lock of the entry's own reference. {WRITE_IT}"
    try:
        lock = read_lock(path)
    except FileNotFoundError:
        raise LockError(f"no file {path.name} in {path.parent}", want) from None
    except (OSError, ValueError) as error:
        raise LockError(f"{path} that cannot be read ({error})", want) from error
    lacking = [
        key for key in ("packages", "objects", "traced", "versions") if not isinstance(lock, dict) or key not in lock
    ]
    if lacking:
        raise LockError(f"{path} without {', '.join(lacking)}", want)
    return lock


def check(object_id: str, lock: dict[str, Any], name: str = "refs/lock.json") -> Checked:
    """Hold one installed object against the lock. ``name``: of the lock, for a reader."""
    found = locate(object_id)
    known = lock["objects"].get(object_id)
    if found is None:
        return Checked(object_id, Drift.MAJOR, "not found in the installed package", 0)
    if known is None:
        return Checked(object_id, Drift.MAJOR, f"not in {name}", found.line)
    return _drift(object_id, found.text, found.meaning, known, found.line)


def objects_of(reference: str, named: tuple[str, ...], lock: Mapping[str, Any]) -> tuple[str, ...]:
    """What a live reference's numbers come from: the objects it names, and those it was seen to run when locked."""
    return tuple(dict.fromkeys((*named, *lock.get("traced", {}).get(reference, ()))))


def hashes(text: str) -> dict[str, str]:
    """Of a module's text and of its meaning."""
    return {"sha256": sha(text), "meaning_sha256": sha(_meaning(ast.parse(text)))}


def used_by(text: str) -> set[str]:
    """The other transcription files that a module imports, and those that they import."""
    named = set(re.findall(r"^from refs\.transcriptions\.(\w+) import", text, re.MULTILINE))
    files = {f"transcriptions/{name}.py" for name in named}
    return files.union(*(used_by(file_text(file) or "") for file in files)) if files else files


def file_text(module: str) -> str | None:
    """A file of this package by its path in it; None if it is not there."""
    path = LOCK_FILE.parent / module
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _drift(name: str, text: str, meaning: str, known: Mapping[str, Any], line: int) -> Checked:
    if sha(text) == known["sha256"]:
        return Checked(name, Drift.NONE, "", line)
    if sha(meaning) == known["meaning_sha256"]:
        return Checked(name, Drift.MINOR, "comments or formatting changed", line)
    return Checked(name, Drift.MAJOR, "the code changed", line)


def _meaning(node: ast.AST) -> str:
    """A dump of the tree that is the same in every Python version: class names and non-empty fields."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and ast.get_docstring(node, False):
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
    parser = argparse.ArgumentParser(
        prog="python -m refs.lock", description="Write refs/lock.json from what is installed."
    )
    parser.parse_args()
    from refs.locking import current

    lock = current()
    LOCK_FILE.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{LOCK_FILE}: {len(lock['objects'])} objects of {', '.join(lock['packages'])}")


if __name__ == "__main__":
    main()
