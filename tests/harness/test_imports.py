"""Imports go one way, read from the files and not from what happens to be loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("variants", "refs", "conformance", "subjects")
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
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return found


def reaches(path: Path, *packages: str) -> list[str]:
    """What a file imports of these packages."""
    return sorted(name for name in imported(path) if name.split(".")[0] in packages)


def test_the_files_are_found() -> None:
    """The tests below would pass because they look at nothing."""
    assert all(len(FILES[package]) > 5 for package in PACKAGES)
    assert "conformance.nouns.finding.Finding" in imported(ROOT / "conformance" / "measuring" / "compare.py")


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("refs", ("variants", "conformance", "subjects", "proof", "tests")),
        ("variants", ("refs", "conformance", "subjects", "proof", "tests", "peft")),
        ("conformance", ("variants", "subjects", "proof", "tests")),
        ("subjects", ("proof", "tests")),
    ],
)
def test_imports_go_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    """A reference could be built out of the variant that it is to judge, or a variant out of its reference."""
    assert {str(path): found for path in FILES[package] if (found := reaches(path, *forbidden))} == {}


ROOMS = ("nouns", "measuring", "space", "checks", "planning", "running", "judging", "reporting", "foreign")
"""Folders of the harness in the order of a value's journey. ``cost`` is a tool of its own; ``cli.py`` starts all."""


def room_of(module: str) -> str:
    """The folder of the harness that a module is in."""
    return module.split(".")[1] if module.startswith("conformance.") else ""


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_comes_before_them(room: str) -> None:
    """The folders would no longer be stages: a check could look at a verdict, or the judge at a card."""
    before = {*ROOMS[: ROOMS.index(room) + 1], "", "__init__"}
    files = (ROOT / "conformance" / room).rglob("*.py")
    back = {str(path): sorted(m for m in imported(path) if room_of(m) not in before) for path in files}
    assert {path: found for path, found in back.items() if found} == {}


def test_every_folder_of_the_harness_is_a_room() -> None:
    """A new folder would be outside the order that the test above looks at."""
    folders = {path.name for path in (ROOT / "conformance").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ROOMS, "commands", "cost"}
    assert {path.name for path in (ROOT / "conformance").glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


@pytest.mark.parametrize("package", [*PACKAGES, "proof"])
def test_no_folder_is_crowded(package: str) -> None:
    """A newcomer could not find a module by its folder's name."""
    crowded = {}
    for folder in [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        # One file per variant, per method and per seeded group is what these folders are for.
        if len(modules) > 14 and folder.name not in ("variants", "methods", "transcriptions", "faults", "reproducers"):
            crowded[str(folder)] = len(modules)
    assert crowded == {}


def circles(package: str) -> list[list[str]]:
    """Groups of modules of a package that import each other at their tops, directly or through others."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES[package]}
    graph = {name: used((at_top(path) & modules.keys()) - {name}) for name, path in modules.items()}
    reach = {name: closure(name, graph) for name in graph}
    return sorted({tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph} - {()})  # type: ignore[type-var]


def used(names: set[str]) -> set[str]:
    """Without the packages that are named only to get at a module in them."""
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def closure(start: str, graph: dict[str, set[str]]) -> set[str]:
    """What can be reached from a node in one step or more."""
    seen: set[str] = set()
    todo = [*graph[start]]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph[node]
    return seen


def at_top(path: Path) -> set[str]:
    """Modules that a file imports when it is loaded (not inside functions, not for types alone)."""
    body = ast.Module(
        [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.Import | ast.ImportFrom)], []
    )
    return {name for node in ast.walk(body) for name in imported_by(node)}


def imported_by(node: ast.AST) -> set[str]:
    """Full names that one absolute import statement loads."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    """Two modules that need each other are one module in two files."""
    assert circles(package) == []


def test_the_nouns_need_no_library() -> None:
    """Naming a case or reading a verdict would load torch."""
    for name in ("probe", "finding", "verdict"):
        assert reaches(ROOT / "conformance" / "nouns" / f"{name}.py", "torch", "peft", "numpy") == [], name


def test_the_judge_is_pure() -> None:
    """A verdict could depend on files, on the clock or on torch."""
    path = ROOT / "conformance" / "judging" / "judge.py"
    assert reaches(path, "torch", "os", "pathlib", "time", "datetime", "random", "peft") == []
    assert {room_of(name) for name in reaches(path, "conformance")} == {"nouns"}


def test_the_harness_names_this_repositorys_variants_in_one_place() -> None:
    """The harness could treat a subject of its own otherwise than one that somebody else wrote."""
    names = [path.name for path in FILES["conformance"] if "subjects.own" in path.read_text(encoding="utf-8")]
    assert names == ["select.py"]


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


EXTRAS = {
    "transformers": ["lives.py", "shapes.py"],
    "bitsandbytes": ["packed.py"],
    "matplotlib": ["plot.py"],
    "pytest": ["pytest_driver.py", "pytest_plugin.py", "pytest_plugin.py"],
    "xdist": [],
    "pytest_timeout": [],
}
"""Packages that an audit of somebody else's code does not need, and the files that are loaded where they are."""


@pytest.mark.parametrize("package", EXTRAS)
def test_the_harness_needs_a_small_core(package: str) -> None:
    """Another library's environment would have to hold versions of packages that it does not go with."""
    files = [*FILES["conformance"], *FILES["refs"]]
    assert sorted(path.name for path in files if reaches(path, package)) == EXTRAS[package]
