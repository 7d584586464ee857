"""Imports go one way, read from the files and not from what happens to be loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("variants", "refs", "conformance")
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in PACKAGES}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere in it, what is imported from them included."""
    here = path.relative_to(ROOT).parent.parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return found


def reaches(path: Path, *packages: str) -> list[str]:
    """What a file imports of these packages."""
    return sorted(name for name in imported(path) if name.split(".")[0] in packages)


def test_the_files_are_found() -> None:
    """The tests below would pass because they look at nothing."""
    assert all(len(FILES[package]) > 5 for package in PACKAGES)
    assert "conformance.model.Finding" in imported(ROOT / "conformance" / "compare.py")


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("refs", ("variants", "conformance", "tests")),
        ("variants", ("refs", "conformance", "tests", "peft")),
        ("conformance", ("tests",)),
    ],
)
def test_imports_go_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    """A reference could be built out of the variant that it is to judge, or a variant out of its reference."""
    assert {str(path): found for path in FILES[package] if (found := reaches(path, *forbidden))} == {}


def test_the_nouns_import_no_sibling() -> None:
    """The model of the nouns would depend on what is built upon it."""
    assert reaches(ROOT / "conformance" / "model.py", "conformance") == []
    assert reaches(ROOT / "conformance" / "model.py", "torch", "peft", "numpy") == []


def test_the_judge_is_pure() -> None:
    """A verdict could depend on files, on the clock or on torch."""
    assert (
        reaches(ROOT / "conformance" / "judge.py", "torch", "os", "pathlib", "time", "datetime", "random", "peft") == []
    )
    assert [name for name in reaches(ROOT / "conformance" / "judge.py", "conformance") if name.count(".") == 1] == [
        "conformance.model"
    ]


def test_only_the_roster_knows_this_repositorys_variants() -> None:
    """The harness could treat a subject of its own otherwise than one that nobody here wrote."""
    knows = [path.name for path in FILES["conformance"] if reaches(path, "variants")]
    assert knows == ["attached.py", "roster.py"]


def test_no_file_imports_peft_at_its_top() -> None:
    """Listing variants, or judging, would wait seconds for a library that it does not need."""
    at_top = []
    for path in [*FILES["refs"], *FILES["conformance"]]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if (
                isinstance(node, ast.Import | ast.ImportFrom)
                and "peft" in ast.unparse(node).split(" import ")[0].split()
            ):
                at_top.append(path.name)
    assert at_top == []


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "base"])
def test_no_file_is_named_after_nothing(name: str) -> None:
    """A file would collect what has no better place."""
    assert [str(p) for package in (*PACKAGES, "tests") for p in (ROOT / package).rglob(f"{name}.py")] == []
