"""Which variants a change can affect, read from git and from the imports in the files. Nothing is imported for it.

A file of a variant or of a reference affects the variants that import it, directly or through others. What all are made
of, measured with or judged by (the runtime, the harness, the lock, the pins) affects all of them, and so does a file
that nobody here has heard of. Not seen is what goes past imports: a file that changes others while it is loaded. The
whole run, which looks at no change, sees that too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from conformance.planning.revisions import git

ROOT = Path(__file__).parents[2]
"""Of the files that are audited, wherever the command is run."""

NOTHING = (
    "docs/*",
    "tests/*",
    "reports/*",
    "proof/*",
    "machines/*",
    "models/*",
    "learning/*",
    "distributed/*",
    "benchmark/*",
    ".github/*",
    "conformance/cost/*",
    "conformance/reporting/html/*",
    "conformance/reporting/formats/*",
    "conformance/reporting/over_time/*",
)
NOTHING_AT_THE_TOP = ("*.md", "LICENSE", ".gitignore", "noxfile.py")
"""What no verdict is made of."""
BY_IMPORTS = ("variants/*", "refs/methods/*", "refs/transcriptions/*")
"""Affects who imports it; a file of these that no variant reaches affects all."""
RUNTIME = "variants/runtime/"
"""Affects all, whatever it imports itself."""
PACKAGE = "/__init__.py"
"""Runs before any module of its package, whoever imports that: affects all, and what it gathers is not theirs."""


@dataclass(frozen=True)
class Change:
    """``everything``: a changed file that affects all, or empty. ``variants``: the affected ones, each with the changed
    files that reach it. ``known``: all whose files were found. ``reports``: whether rendered reports changed, too.
    """

    revision: str
    everything: str
    variants: Mapping[str, tuple[str, ...]]
    known: frozenset[str]
    reports: bool = False

    def __str__(self) -> str:
        if self.everything:
            return f"since {self.revision}: {self.everything} affects every variant"
        reached = "; ".join(f"{name} ({', '.join(files)})" for name, files in self.variants.items())
        return f"since {self.revision}: {reached or 'no variant is affected'}"


def since(revision: str, root: Path = ROOT) -> Change:
    """What a change since a git revision can affect: committed, staged, unstaged or not yet tracked.

    ValueError: no git checkout, or no such revision.
    """
    return affected(revision, changed_files(revision, root), Sources(root))


def affected(revision: str, files: Iterable[str], sources: Sources) -> Change:
    """The same for changed files, as paths from the root."""
    reach = {name: sources.closure(modules) for name, modules in sources.variants.items()}
    everything, variants, reports = "", dict[str, tuple[str, ...]](), False
    for file in sorted(files):
        reports |= file.startswith("reports/")
        if _matches(file, NOTHING) or ("/" not in file and _matches(file, NOTHING_AT_THE_TOP)):
            continue
        by_imports = _matches(file, BY_IMPORTS) and not _of_all(file)
        found = [name for name, reached in reach.items() if by_imports and file in reached]
        if not found:
            everything = everything or file
        for name in found:
            variants[name] = (*variants.get(name, ()), file)
    ordered = {name: variants[name] for name in sources.variants if name in variants}
    return Change(revision, everything, ordered, frozenset(reach), reports)


def changed_files(revision: str, root: Path) -> tuple[str, ...]:
    """Files below ``root`` that differ from the revision, deleted ones and new ones included."""
    if git(root, "rev-parse", "--is-inside-work-tree") is None:
        raise ValueError(
            f"--changed-since {revision}: {root} is not in a git repository, so it has no revisions. Run without it."
        )
    commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise ValueError(f"--changed-since: unknown git revision {revision!r}. Fetch it, or name another.")
    # A file that was renamed is one that went and one that came: both count.
    tracked = git(
        root, "diff", "--name-only", "--no-renames", "--no-ext-diff", "--relative", "-z", commit.strip(), "--"
    )
    new = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    if tracked is None or new is None:
        raise ValueError(
            f"--changed-since: git could not list what changed since {revision!r} in {root}. Run without it."
        )
    return tuple(sorted({*tracked.split("\0"), *new.split("\0")} - {""}))


class Sources:
    """The files of variants and references, and what they import of each other."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def variants(self) -> dict[str, tuple[str, ...]]:
        """Name of each variant -> its own file and that of its references."""
        own = {name: path for path in sorted((self.root / "variants").glob("*.py")) for name in _adapters(path)}
        methods = {name: path for path in sorted((self.root / "refs/methods").glob("*.py")) for name in _methods(path)}
        return {name: (self._name(path), self._name(methods[name])) for name, path in own.items() if name in methods}

    def closure(self, files: Iterable[str]) -> frozenset[str]:
        """The files and everything that they import, directly or not; the runtime is not looked into."""
        seen: set[str] = set()
        todo = list(files)
        while todo:
            file = todo.pop()
            if file not in seen:
                seen.add(file)
                todo += () if _of_all(file) else self._imports(file)
        return frozenset(seen)

    def _imports(self, file: str) -> tuple[str, ...]:
        path = self.root / file
        return tuple(found for name in imported(path, self.root) if (found := self._file(name)) is not None)

    def _file(self, module: str) -> str | None:
        path = self.root / module.replace(".", "/")
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return self._name(candidate)
        return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def imported(path: Path, root: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere in it, and of what it imports from them."""
    here = path.relative_to(root).parent.parts
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = list(here[: len(here) - node.level + 1]) if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def _of_all(file: str) -> bool:
    return file.startswith(RUNTIME) or file.endswith(PACKAGE)


def _adapters(path: Path) -> list[str]:
    """Values of ``name = "..."`` in the bodies of a file's classes."""
    return [
        str(line.value.value)
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.Assign)
        and [ast.unparse(target) for target in line.targets] == ["name"]
        and isinstance(line.value, ast.Constant)
    ]


def _methods(path: Path) -> list[str]:
    """Values of ``name`` in a file's calls ``Method(name="...")``."""
    return [
        str(keyword.value.value)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Method"
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]


def _tree(path: Path) -> ast.Module:
    """An unreadable file imports nothing; it is among the changed ones, and its audit will say what is wrong."""
    try:
        return ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _matches(file: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(file, pattern) for pattern in patterns)
