"""Names and places of the variants, read from the files. Nothing is imported, so listing them needs no torch."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def listed(root: Path = ROOT) -> tuple[tuple[str, str], ...]:
    """``(name, file:line of its class)`` of each entry, in the roster's order.

    Reads ``ENTRIES`` of ``subjects/own/roster.py``, the rows ``X = row("name", ...)`` that it imports, and the classes
    in ``variants/`` with ``name = "..."``. ValueError: one of these files no longer has that form.
    """
    roster = _tree(root / "subjects/own/roster.py")
    files = {
        alias.asname or alias.name: root / (node.module.replace(".", "/") + ".py")
        for node in roster.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    entries = _assigned(roster, "ENTRIES")
    if not isinstance(entries, ast.Tuple):
        raise ValueError("subjects/own/roster.py: got no tuple ENTRIES, want one. List the variants there.")
    places = _places(root)
    names = [_name_of_row(files, ast.unparse(each)) for each in entries.elts]
    return tuple((name, places.get(name, "unknown")) for name in names)


def _name_of_row(files: dict[str, Path], variable: str) -> str:
    call = _assigned(_tree(files[variable]), variable) if variable in files else None
    if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    raise ValueError(
        f'subjects/own/roster.py: got {variable}, want a row imported from here: {variable} = row("name", ...).'
    )


def _places(root: Path) -> dict[str, str]:
    """Name of each variant -> where its class begins, decorators included."""
    found = {}
    for path in sorted((root / "variants").glob("*.py")):
        for node in _tree(path).body:
            name = _assigned(node, "name") if isinstance(node, ast.ClassDef) else None
            if isinstance(node, ast.ClassDef) and isinstance(name, ast.Constant):
                line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[str(name.value)] = f"{path.relative_to(root).as_posix()}:{line}"
    return found


def _assigned(node: ast.Module | ast.ClassDef, variable: str) -> ast.expr | None:
    """The value that a module or class gives to a variable; the last one counts."""
    found = None
    for line in node.body:
        targets: list[ast.expr] = []
        if isinstance(line, ast.Assign):
            targets = line.targets
        elif isinstance(line, ast.AnnAssign):
            targets = [line.target]
        if isinstance(line, ast.Assign | ast.AnnAssign) and variable in map(ast.unparse, targets):
            found = line.value
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
