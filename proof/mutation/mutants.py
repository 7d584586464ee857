"""Every mutant of the variants' files: where, which mistake, and the code with it."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from conformance.nouns.entry import ROOT
from proof.mutation.known import Key
from proof.mutation.operators import changes

Path_ = tuple[tuple[str, int], ...]
"""From the root of a tree to a node: field and index (-1 for no list), step by step."""

SHARED = {
    "variants/svd_family.py": (
        "antipasto",
        "antipasto_rot",
        "antipasto_ablate",
        "antipasto_corda",
        "antipasto_arrow",
    ),
    "variants/lora.py": ("lora", "eva", "pissa", "dora"),
}
"""Files that several variants are made of, and before whom a mutant goes, one after the other, until it is killed."""
LEFT_OUT = ("__post_init__", "check_layer")
REFUSING = ("AdapterError", "require")
"""Refusals are not mutated: bad input is the business of the tests of the runtime, not of the harness."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``file:line``, the function it is in, the operator, and the code before and after."""

    file: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    path: Path_
    nth: int
    """Which of the changes at that node."""
    place: int = 1
    """Which of the places in its function where the same change could be made."""

    @property
    def key(self) -> Key:
        """What names it, wherever in the file it has moved."""
        again = f" (place {self.place})" if self.place > 1 else ""
        return (self.file, self.function, self.operator, self.before, self.after + again)

    @property
    def entries(self) -> tuple[str, ...]:
        """The audited variants that its file makes."""
        return SHARED.get(self.file, (Path(self.file).stem,))

    def tree(self) -> ast.Module:
        """The file's syntax tree with the mistake in it; the other lines keep their numbers."""
        tree = _parsed(self.file)
        node = _at(tree, self.path)
        _, new = list(changes(node, _tensors(tree)))[self.nth]
        mutated = copy.deepcopy(tree)
        field, index = self.path[-1]
        parent = _at(mutated, self.path[:-1])
        new = ast.copy_location(copy.deepcopy(new), node)
        if index < 0:
            setattr(parent, field, new)
        else:
            getattr(parent, field)[index] = new
        return ast.fix_missing_locations(mutated)


def files() -> tuple[str, ...]:
    """The variants' files, the shared ones included."""
    from variants.registry import VARIANTS

    own = {f"variants/{v.__module__.rpartition('.')[2]}.py" for v in VARIANTS}
    return tuple(sorted({*own, *SHARED}))


def mutants() -> tuple[Mutant, ...]:
    """All of them, in the order of the files."""
    return tuple(mutant for file in files() for mutant in mutants_of(file))


def mutants_of(file: str) -> tuple[Mutant, ...]:
    """Those of one file."""
    counted: Counter[Key] = Counter()
    found = []
    for mutant in _of(file):
        counted[mutant.key] += 1
        found.append(replace(mutant, place=counted[mutant.key]))
    return tuple(found)


def _of(file: str) -> Iterator[Mutant]:
    tree = _parsed(file)
    tensors = _tensors(tree)
    for path, node, function in _walk(tree, (), "module"):
        for nth, (operator, new) in enumerate(changes(node, tensors)):
            before, after = _code(node), _code(new)
            if before != after:
                yield Mutant(file, getattr(node, "lineno", 0), function, operator, before, after, path, nth)


def _walk(node: ast.AST, path: Path_, function: str) -> Iterator[tuple[Path_, ast.AST, str]]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(-1, value)]:
            if not isinstance(child, ast.AST) or _spared(child):
                continue
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            way = (*path, (field, index))
            if function != "module" or isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Assign):
                if function != "module" and not isinstance(child, ast.FunctionDef):
                    yield way, child, function
                yield from _walk(child, way, inner)


def _spared(node: ast.AST) -> bool:
    """Docstrings, type declarations, imports, and whatever only refuses bad input."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert):
        return True
    if isinstance(node, ast.Attribute) and node.attr in ("dtype", "device", "shape"):
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name in LEFT_OUT or node.name.startswith("require")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If) and all(isinstance(s, ast.Raise) for s in node.body) and not node.orelse:
        return True
    call = node.value if isinstance(node, ast.Expr) else node
    if isinstance(call, ast.Call):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        return name.startswith(REFUSING)
    return False


def _tensors(tree: ast.Module) -> frozenset[str]:
    """Names that the classes of a file declare as tensors."""
    return frozenset(
        node.target.id
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and ast.unparse(node.annotation) == "Tensor"
    )


@cache
def _parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _at(node: ast.AST, path: Path_) -> ast.AST:
    for field, index in path:
        value = getattr(node, field)
        node = value if index < 0 else value[index]
    return node


def _code(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
