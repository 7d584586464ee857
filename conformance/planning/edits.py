"""Change source files as a whole or not at all: new files, and lines in registries, found by syntax and not by line."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from conformance.planning.names import BadRequest


@dataclass
class Edits:
    """What is to be written below ``root``. Nothing is, before ``write``."""

    root: Path
    new: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)

    def create(self, file: str, template: Path, **words: str) -> None:
        """A new file from a template with ``$words``. BadRequest if there is such a file."""
        if (self.root / file).exists():
            raise BadRequest(f"new: got {file}, which is there already; want a free name. Choose another one.")
        self.new[file] = Template(template.read_text(encoding="utf-8")).substitute(words)

    def text(self, file: str) -> str:
        """The file as it will be. BadRequest if there is none."""
        path = self.root / file
        if file not in self.changed and not path.is_file():
            raise BadRequest(f"new: got no {file} in {self.root}, want a checkout of this repository. Run it from one.")
        return self.changed.get(file) or path.read_text(encoding="utf-8")

    def require_unbound(self, file: str, *names: str, also: bool = False) -> None:
        """BadRequest if a module already means something by one of these names (or ``also`` says so)."""
        bound = _bound(self.text(file))
        for name in names:
            if name in bound or also:
                raise BadRequest(f"new: got {name!r}, which {file} already means something by; want another name.")

    def append(self, file: str, more: str) -> None:
        """Add text at the end."""
        self.changed[file] = self.text(file).rstrip("\n") + "\n" + more

    def add_import(self, file: str, line: str) -> None:
        """Add ``from a.b import c`` in its sorted place among the imports from the same package."""
        text, module = self.text(file), _module(line)
        if line in text.splitlines():
            return
        imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom) and node.module]
        package = module.split(".")[0]
        before = [node for node in imports if str(node.module).split(".")[0] == package and str(node.module) < module]
        after = [node for node in imports if str(node.module).split(".")[0] == package and str(node.module) > module]
        same = [node for node in imports if node.module == module]
        if same:
            self._add_name(file, same[0], ast.parse(line).body[0])
            return
        lines = text.splitlines(keepends=True)
        if before:
            lines.insert(before[-1].end_lineno or 0, line + "\n")
        elif after:
            lines.insert(after[0].lineno - 1, line + "\n")
        else:
            raise BadRequest(f"new: got no import from {package} in {file}, want one beside which {line!r} belongs.")
        self.changed[file] = "".join(lines)

    def _add_name(self, file: str, node: ast.ImportFrom, more: ast.stmt) -> None:
        """Add the name of one import to another one from the same module."""
        assert isinstance(more, ast.ImportFrom)
        names = sorted({*(alias.name for alias in node.names), more.names[0].name}, key=_as_isort)
        line = f"from {node.module} import {', '.join(names)}"
        if len(line) > 120:
            line = f"from {node.module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        lines = self.text(file).splitlines(keepends=True)
        lines[node.lineno - 1 : node.end_lineno] = [line + "\n"]
        self.changed[file] = "".join(lines)

    def add_to(self, file: str, variable: str, element: str, *, ordered: bool = False) -> None:
        """Add an element at the end of a tuple or list that a module assigns to ``variable``; or in sorted order."""
        text = self.text(file)
        value = _sequence(text, variable)
        if value is None or not value.elts:
            raise BadRequest(f"new: got no list {variable} in {file}, want one to add {element} to. Restore the file.")
        lines = text.splitlines(keepends=True)
        later = [each for each in value.elts if ordered and _as_all(ast.unparse(each)) > _as_all(element)]
        alone = value.elts[0].lineno != value.lineno  # one element a line
        if later:
            at = later[0]
            piece = f"{element},\n{' ' * at.col_offset}" if alone else f"{element}, "
            row, column = at.lineno - 1, at.col_offset
        else:
            last = value.elts[-1]
            piece = f",\n{' ' * last.col_offset}{element}" if alone else f", {element}"
            row, column = (last.end_lineno or 0) - 1, last.end_col_offset or 0
        lines[row] = lines[row][:column] + piece + lines[row][column:]
        self.changed[file] = "".join(lines)

    def add_to_section(self, file: str, variable: str, section: str, element: str) -> None:
        """Add ``"element"`` to the tuple of one section, in a tuple of pairs ``("section", ("a", "b"))``."""
        text = self.text(file)
        pairs = _sequence(text, variable)
        for pair in pairs.elts if pairs is not None else ():
            if isinstance(pair, ast.Tuple) and ast.unparse(pair.elts[0]) == repr(section):
                inner = pair.elts[1]
                if isinstance(inner, ast.Tuple) and inner.elts:
                    last = inner.elts[-1]
                    lines = text.splitlines(keepends=True)
                    row, column = (last.end_lineno or 0) - 1, last.end_col_offset or 0
                    alone = lines[row].strip() == f"{ast.unparse(last)},".replace("'", '"')
                    indent = lines[row][: len(lines[row]) - len(lines[row].lstrip())]
                    if alone:
                        lines.insert(row + 1, f'{indent}"{element}",\n')
                    else:
                        lines[row] = lines[row][:column] + f', "{element}"' + lines[row][column:]
                    self.changed[file] = "".join(lines)
                    return
        raise BadRequest(f"new: got no section {section!r} in {variable} of {file}, want one. Restore the file.")

    def write(self) -> tuple[str, ...]:
        """Write all of it, the names of the files in order; if anything fails, put everything back first."""
        texts = {**self.new, **self.changed}
        for file, text in texts.items():
            if file.endswith(".py"):
                ast.parse(text)  # better now than when everything imports it
        before = {file: (self.root / file).read_text(encoding="utf-8") for file in self.changed}
        done: list[str] = []
        try:
            for file, text in texts.items():
                done.append(file)
                (self.root / file).parent.mkdir(parents=True, exist_ok=True)
                (self.root / file).write_text(text, encoding="utf-8", newline="\n")
        except OSError:
            for file in done:
                if file in before:
                    (self.root / file).write_text(before[file], encoding="utf-8", newline="\n")
                else:
                    (self.root / file).unlink(missing_ok=True)
            raise
        return tuple(texts)


def require_free(name: str, taken: tuple[str, ...], what: str) -> None:
    """BadRequest unless ``name`` is a plain identifier in lower case that nothing has."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise BadRequest(
            f"new {what}: got {name!r}, want a plain name: lower-case letters, digits and single underscores, from a "
            "letter on, and no word of Python's. It becomes the name of a file."
        )
    if name in taken:
        told = f"there is a {what} {name!r} already. Taken: {', '.join(taken)}"
        raise BadRequest(f"new {what}: {told}. Choose another name.")


def _bound(text: str) -> set[str]:
    """Names that a module's top level binds."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
    return found


def _sequence(text: str, variable: str) -> ast.Tuple | ast.List | None:
    for node in ast.parse(text).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and variable in map(ast.unparse, targets):
            inner = next((each for each in ast.walk(node) if isinstance(each, ast.comprehension)), None)
            value = node.value if inner is None else inner.iter
            return value if isinstance(value, ast.Tuple | ast.List) else None
    return None


def _module(line: str) -> str:
    node = ast.parse(line).body[0]
    assert isinstance(node, ast.ImportFrom)
    return str(node.module)


def _as_isort(name: str) -> tuple[int, str]:
    """The order of names in an import: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def _as_all(element: str) -> tuple[int, str]:
    name = element.strip("'\"")
    rank, _ = _as_isort(name)
    return (rank, name.lower() if rank == 1 else name)
