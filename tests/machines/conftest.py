"""A small project in git, and audits of it that take no time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from machines.audit import Tree

AUDIT = """
import os, subprocess, sys
from pathlib import Path

subprocess.run([sys.executable, "-c", ""])
cards = {"one.md": "one\\r\\n", "two.md": "two\\n", "results.json": "{}\\n"}
do = os.environ.get("TOY", "")
if do == "another-byte":
    cards["two.md"] = "two \\n"
if do == "one-more":
    cards["three.md"] = "three\\n"
if do == "one-less":
    del cards["one.md"]
    Path("reports/one.md").unlink()
if do == "two-cards":
    cards |= {"one.md": "1\\n", "two.md": "2\\n"}
if do.startswith("ends-at-once"):
    sys.exit(int(do[-1]))
for name, text in cards.items():
    Path("reports", name).write_bytes(text.encode())
print("GATE: closed" if do == "closed" else "done")
if do == "signal":
    os.abort()
sys.exit({"closed": 1, "another-byte": 1, "status-3": 3}.get(do, 0))
"""
"""Renders the toy project's reports; what goes wrong is asked for by the variable TOY."""


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody, whatever the computer's own settings."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, "-c", "core.autocrlf=false", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy project: two commits, reports of three files, one of them with a carriage return."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    (folder / "reports").mkdir(parents=True)
    (folder / "conformance").mkdir()
    (folder / "conformance" / "__init__.py").write_text("")
    (folder / ".gitignore").write_text(".conformance/\n__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Begin")
    for name, text in {"one.md": "one\r\n", "two.md": "two\n", "results.json": "{}\n"}.items():
        (folder / "reports" / name).write_bytes(text.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Reports")
    return folder


@pytest.fixture
def tree(root: Path) -> Tree:
    """What is audited."""
    return Tree.at(root, "HEAD")


@pytest.fixture
def toy(tmp_path: Path) -> tuple[str, ...]:
    """The command that audits the toy project."""
    script = tmp_path / "audit.py"
    script.write_text(AUDIT)
    return (sys.executable, str(script))
