"""Every public definition says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("conformance", "refs", "variants", "subjects")
BY_ROLE = {"refs/transcriptions/": {"read_config", "effective"}}
"""Functions that every file of a folder has; ``refs.transcriptions.transcription`` says what they are."""


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST, ast.ClassDef | None]]:
    """Public modules, classes, functions and methods of a file: name, node, and the class of a method."""
    yield "module", tree, None
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, None
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, node


def undocumented(text: str, inherited: frozenset[str] = frozenset()) -> list[str]:
    """What has no docstring. A method of a class with a base may have its base's, if that is among ``inherited``."""
    return [
        name
        for name, node, owner in public(ast.parse(text))
        if ast.get_docstring(node) is None  # type: ignore[arg-type]
        and not (owner is not None and owner.bases and name.rpartition(".")[2] in inherited)
    ]


def files() -> list[str]:
    """Every file of the packages."""
    return sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@cache
def documented_methods() -> frozenset[str]:
    """Names of the methods that some class documents, and torch's ``forward``."""
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in files()]
    found = {
        name.rpartition(".")[2]
        for text in texts
        for name, node, owner in public(ast.parse(text))
        if owner is not None and ast.get_docstring(node)  # type: ignore[arg-type]
    }
    return frozenset(found | {"forward"})


@pytest.mark.parametrize("file", files())
def test_public_definitions_have_a_docstring(file: str) -> None:
    """A reader would have to guess from a name what a definition is for."""
    by_role = next((names for folder, names in BY_ROLE.items() if file.startswith(folder)), set())
    found = undocumented((ROOT / file).read_text(encoding="utf-8"), documented_methods())
    assert [name for name in found if name not in by_role] == []


def test_the_files_are_found() -> None:
    """The test above would pass because it looks at nothing."""
    assert len(files()) > 100


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("x = 1", ["module"]),
        ('"""."""\ndef f(): ...', ["f"]),
        ('"""."""\ndef _f(): ...', []),
        ('"""."""\nclass C:\n    """."""\n    def f(self): ...', ["C.f"]),
        ('"""."""\nclass C(B):\n    """."""\n    def f(self): ...', ["C.f"]),
        ('"""."""\nclass C(B):\n    """."""\n    def forward(self): ...', []),
        ('"""."""\nclass C:\n    """."""\n    def forward(self): ...', ["C.forward"]),
        ('"""."""\nclass C(B): ...', ["C"]),
    ],
)
def test_what_is_undocumented(text: str, want: list[str]) -> None:
    """The test would pass over a definition."""
    assert undocumented(text, frozenset({"forward"})) == want
