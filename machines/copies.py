"""A copy of the tree at one revision, its committed reports, and what the audit has made of them."""

from __future__ import annotations

import difflib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

REPORTS = "reports"
LONG_AGO = 0
"""Modification time of the committed reports in a copy: what the audit has written is newer."""


def git(folder: Path, *arguments: str) -> bytes:
    """What git prints. ValueError with git's own words if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=without_git(os.environ), capture_output=True, check=False
        )
    except FileNotFoundError:
        raise ValueError("git: not found, want it on PATH: each machine gets a clone. Install git.") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise ValueError(f"git {arguments[0]} in {folder} failed: {said}. Run this in a git checkout of the project.")
    return done.stdout


def without_git(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which git finds its repository by the folder it runs in, also when a git hook started this."""
    return {name: value for name, value in environment.items() if not name.startswith("GIT_")}


def commit_of(root: Path, revision: str) -> str:
    """The full hash. ValueError if there is no such commit."""
    return git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()


def uncommitted(root: Path) -> int:
    """How many files differ from HEAD or are new, and so are in no copy."""
    return len(git(root, "status", "--porcelain", "--untracked-files=normal").splitlines())


def clone(root: Path, commit: str, folder: Path, *, shallow: bool) -> None:
    """A checkout of ``commit`` in ``folder``, bytes as committed; it shares no file with ``root``."""
    source = root.resolve()
    how = ("--depth", "1", source.as_uri()) if shallow else ("--no-hardlinks", str(source))
    git(root, "clone", "--quiet", "--no-checkout", "-c", "core.autocrlf=false", *how, str(folder))
    if shallow:
        git(folder, "fetch", "--quiet", "--depth", "1", "origin", commit)
    git(folder, "checkout", "--quiet", "--detach", commit)
    for path in (folder / REPORTS).iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))


def committed_reports(root: Path, commit: str) -> dict[str, bytes]:
    """Path in the folder of the reports to bytes, sub-folders included."""
    names = git(root, "ls-tree", "-r", "-z", "--name-only", commit, f"{REPORTS}/").decode().split("\0")
    return {name.removeprefix(f"{REPORTS}/"): git(root, "show", f"{commit}:{name}") for name in names if name}


def reports_of(checkout: Path) -> dict[str, bytes]:
    """Path in the folder of the reports to bytes, as they lie there."""
    folder = checkout / REPORTS
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rendered(checkout: Path, name: str = "results.json") -> bool:
    """Whether the audit has written its results at all: an audit that did nothing leaves the same bytes, too."""
    path = checkout / REPORTS / name
    return path.is_file() and path.stat().st_mtime != LONG_AGO


def differing(got: Mapping[str, bytes], want: Mapping[str, bytes]) -> tuple[str, ...]:
    """Names whose bytes differ, or that only one side has."""
    return tuple(sorted(name for name in {*got, *want} if got.get(name) != want.get(name)))


def difference(got: Mapping[str, bytes], want: Mapping[str, bytes]) -> str:
    """A unified diff of what differs, committed against found."""
    parts: list[str] = []
    for name in differing(got, want):
        old, new = (side.get(name, b"").decode(errors="replace").splitlines() for side in (want, got))
        parts += difflib.unified_diff(old, new, f"committed/{name}", f"here/{name}", lineterm="")
    return "".join(f"{line}\n" for line in parts)
