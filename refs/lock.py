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
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refs.licences import CHECKED, of
from refs.versions import installed

if TYPE_CHECKING:
    from refs.reference import Author

LOCK_FILE = Path(__file__).with_name("lock.json")
GOLDEN = Path(__file__).with_name("golden")
NOTHING: Mapping[str, tuple[str, ...]] = {}
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
class Checked:
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
    return _source_at(file, file.stat().st_mtime_ns, qualified)


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
    text = _file_text(module)
    known = lock["transcriptions"].get(module)
    if text is None or known is None:
        reason = "not found" if text is None else "not in refs/lock.json"
        return [Checked(module, Drift.MAJOR, reason, 0)]
    checks = [_drift(module, text, _meaning(ast.parse(text)), known, 1)]
    for used in sorted({*_used_by(text), *known["uses"]}):
        theirs, locked = _file_text(used), known["uses"].get(used)
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


def check(object_id: str, lock: dict[str, Any]) -> Checked:
    """Hold one installed object against the lock."""
    found = locate(object_id)
    known = lock["objects"].get(object_id)
    if found is None:
        return Checked(object_id, Drift.MAJOR, "not found in the installed package", 0)
    if known is None:
        return Checked(object_id, Drift.MAJOR, "not in refs/lock.json", found.line)
    return _drift(object_id, found.text, found.meaning, known, found.line)


def make_lock(
    objects: tuple[str, ...],
    transcriptions: Mapping[str, tuple[str, ...]] = NOTHING,
    traced: Mapping[str, tuple[str, ...]] = NOTHING,
) -> dict[str, Any]:
    """The lock for these objects as they are installed now, and for transcriptions (file -> golden variants).

    ``traced``: a reference -> the functions that it was seen to run; one that no name leads to (defined under an
    ``if``) is locked with its whole file. LookupError if an object is not there.
    """
    traced = {name: tuple(o if locate(o) else _file_of(o) for o in found) for name, found in traced.items()}
    objects = (*objects, *(o for found in traced.values() for o in found))
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
            raise LookupError(f"{object_id} is not in the installed packages; correct its name in refs/methods/")
        entries[object_id] = {"sha256": sha(found.text), "meaning_sha256": sha(found.meaning), "line": found.line}
    written = {module: _lock_of(module, variants) for module, variants in sorted(transcriptions.items())}
    return {
        "packages": packages,
        "objects": entries,
        "traced": {name: list(dict.fromkeys(found)) for name, found in sorted(traced.items())},
        "transcriptions": written,
        "versions": installed(),
    }


def _file_of(object_id: str) -> str:
    return object_id.partition("::")[0] + "::"


def objects_of(reference: str, named: tuple[str, ...], lock: Mapping[str, Any]) -> tuple[str, ...]:
    """What a live reference's numbers come from: the objects it names, and those it was seen to run when locked."""
    return tuple(dict.fromkeys((*named, *lock.get("traced", {}).get(reference, ()))))


def _lock_of(module: str, variants: tuple[str, ...]) -> dict[str, Any]:
    text = _file_text(module)
    if text is None:
        raise LookupError(f"refs/{module} is not there; correct its name in refs/methods/")
    listed = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["files"]
    own = [row for row in listed if row["variant"] in variants]
    vectors = {row["file"]: row["file_sha256"] for row in own}
    sources = {row["source_path"]: _source_of_vector(row) for row in own}
    variants_of = {row["file"]: row["variant"] for row in own}
    if not vectors:
        raise LookupError(f"no golden vector of {', '.join(variants)} for refs/{module}")
    uses = {used: _hashes(_file_text(used) or "") for used in sorted(_used_by(text))}
    return {**_hashes(text), "uses": uses, "vectors": vectors, "variants": variants_of, "sources": sources}


def _source_of_vector(row: dict[str, Any]) -> dict[str, str]:
    """Where the code ran that a vector records. None of that code is here."""
    known = of(row["source_repo"])
    return {
        "repo": row["source_repo"],
        "commit": row["source_commit"],
        "sha256": row["source_sha256"],
        "licence": known.licence,
        **({"newest_commit_seen": known.newest} if known.newest else {}),
    }


def _hashes(text: str) -> dict[str, str]:
    return {"sha256": sha(text), "meaning_sha256": sha(_meaning(ast.parse(text)))}


def _used_by(text: str) -> set[str]:
    """The other transcription files that a module imports, and those that they import."""
    named = set(re.findall(r"^from refs\.transcriptions\.(\w+) import", text, re.MULTILINE))
    files = {f"transcriptions/{name}.py" for name in named}
    return files.union(*(_used_by(_file_text(file) or "") for file in files)) if files else files


def _file_text(module: str) -> str | None:
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


def _author(author: Author) -> dict[str, Any]:
    """Where a method's authors' code is, and what is known of it; what is not known says so."""
    known = of(author.repo)
    return {
        "repo": author.repo,
        "path": author.path or "not recorded",
        "commit": author.commit or "not recorded",
        "sha256": author.sha256 or "not recorded",
        "licence": known.licence,
        "newest_commit_seen": known.newest or "none",
        "checked": CHECKED,
    }


def current() -> dict[str, Any]:
    """The lock of every registered method as it is installed now: what it names, and what it is seen to run."""
    from refs.reference import Live
    from refs.registry import METHODS
    from refs.trace import executed

    objects = tuple(o for method in METHODS for o in method.objects)
    golden: dict[str, tuple[str, ...]] = {}
    for transcribed in (t for method in METHODS for t in method.transcribed):
        golden[transcribed.module] = (*golden.get(transcribed.module, ()), *transcribed.golden)
    live = [r for method in METHODS for r in method.references if isinstance(r, Live)]
    lock = make_lock(objects, golden, {reference.id: executed(reference) for reference in live})
    lock["authors"] = {method.name: _author(method.author) for method in METHODS}
    return lock


def main() -> None:
    """Write ``lock.json`` for every object that a registered method refers to."""
    lock = current()
    LOCK_FILE.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{LOCK_FILE}: {len(lock['objects'])} objects of {', '.join(lock['packages'])}")


if __name__ == "__main__":
    main()
