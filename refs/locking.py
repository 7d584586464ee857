"""Write the lock: hashes of what the references name, of what they are seen to run, and of the transcriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from refs.licences import CHECKED, of
from refs.lock import GOLDEN, file_text, hashes, locate, package_of, sha, used_by
from refs.reference import Author, Live
from refs.registry import METHODS
from refs.trace import executed
from refs.versions import installed, version_of

NOTHING: Mapping[str, tuple[str, ...]] = {}
REPOSITORIES = {"peft": ("https://github.com/huggingface/peft", "Apache-2.0", "src/")}


def current() -> dict[str, Any]:
    """The lock of every registered method as it is installed now: what it names, and what it is seen to run."""
    objects = tuple(o for method in METHODS for o in method.objects)
    golden: dict[str, tuple[str, ...]] = {}
    for transcribed in (t for method in METHODS for t in method.transcribed):
        golden[transcribed.module] = (*golden.get(transcribed.module, ()), *transcribed.golden)
    live = [r for method in METHODS for r in method.references if isinstance(r, Live)]
    lock = make_lock(objects, golden, {reference.id: executed(reference) for reference in live})
    lock["authors"] = {method.name: _author(method.author) for method in METHODS}
    return lock


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
    for package in sorted({package_of(o) for o in objects}):
        repo, licence, prefix = REPOSITORIES.get(package, ("", "", ""))
        version = version_of(package)
        packages[package] = {
            "version": version,
            "repo": repo,
            "commit": f"v{version}" if version else "",
            "path_prefix": prefix,
            "licence": licence,
        }
    entries = {}
    for object_id in sorted(set(objects)):
        found = locate(object_id)
        if found is None:
            raise LookupError(f"{object_id} is not in the installed packages; correct its name in the reference")
        entries[object_id] = {"sha256": sha(found.text), "meaning_sha256": sha(found.meaning), "line": found.line}
    written = {module: _lock_of(module, variants) for module, variants in sorted(transcriptions.items())}
    return {
        "packages": packages,
        "objects": entries,
        "traced": {name: list(dict.fromkeys(found)) for name, found in sorted(traced.items())},
        "transcriptions": written,
        "versions": installed(),
    }


def own_lock(references: Sequence[Live]) -> dict[str, Any]:
    """The lock of somebody's own references: what they name, what they are seen to run, and torch's version."""
    objects = tuple(o for reference in references for o in reference.objects)
    lock = make_lock(objects, traced={reference.id: executed(reference) for reference in references})
    return {**lock, "versions": {"torch": installed()["torch"]}}


def _file_of(object_id: str) -> str:
    return object_id.partition("::")[0] + "::"


def _lock_of(module: str, variants: tuple[str, ...]) -> dict[str, Any]:
    text = file_text(module)
    if text is None:
        raise LookupError(f"refs/{module} is not there; correct its name in refs/methods/")
    listed = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["files"]
    own = [row for row in listed if row["variant"] in variants]
    vectors = {row["file"]: row["file_sha256"] for row in own}
    sources = {row["source_path"]: _source_of_vector(row) for row in own}
    variants_of = {row["file"]: row["variant"] for row in own}
    if not vectors:
        raise LookupError(f"no golden vector of {', '.join(variants)} for refs/{module}")
    uses = {used: hashes(file_text(used) or "") for used in sorted(used_by(text))}
    return {**hashes(text), "uses": uses, "vectors": vectors, "variants": variants_of, "sources": sources}


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
