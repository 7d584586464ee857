"""The line that names a tensor in a class: found in the syntax tree, where no line of it made the tensor itself."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn


@cache
def naming(code: Any, name: str) -> tuple[str, int] | None:
    """File and line in which a class, or one that it inherits from, names a tensor; None if none does.

    Looked for are, in this order: a key of a dictionary beside a call (``{"A": Spec(...)}``), a call with the name
    (``register_parameter("A", ...)``), an assignment (``self.A = ...``, ``self.A[adapter] = ...``). ``code`` may be a
    function: then in its body.
    """
    for owner in _owners(code):
        found = _definition(owner)
        if found is None:
            continue
        file, tree = found
        for kind in (_keys, _calls, _assignments):
            line = min(kind(tree, lambda node: _is(node, name, code), name), default=0)
            if line:
                return file, line
    return None


def own_files(code: Any) -> tuple[str, ...]:
    """The file of a class or function, and those of the classes that it inherits from."""
    return tuple(dict.fromkeys(found[0] for owner in _owners(code) if (found := _definition(owner)) is not None))


def _owners(code: Any) -> tuple[Any, ...]:
    if not inspect.isclass(code):
        return (inspect.unwrap(code),) if callable(code) else ()
    return tuple(c for c in code.__mro__ if c is not nn.Module and not c.__module__.startswith(("torch.", "builtins")))


@cache
def _definition(owner: Any) -> tuple[str, ast.AST] | None:
    """The file and the syntax tree of a class or function."""
    try:
        file = inspect.getsourcefile(owner)
        first = inspect.getsourcelines(owner)[1]
    except (TypeError, OSError):
        return None
    if file is None:
        return None
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first in (start, node.lineno):
                return file, node
    return None


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


Is = Callable[[ast.AST], bool]
"""Whether an expression is the name."""


def _keys(tree: ast.AST, is_it: Is, name: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for given, value in zip(node.keys, node.values, strict=True):
                if given is not None and is_it(given) and isinstance(value, ast.Call):
                    yield given.lineno


def _calls(tree: ast.AST, is_it: Is, name: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(is_it(argument) for argument in node.args):
            yield node.lineno


def _assignments(tree: ast.AST, is_it: Is, name: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        else:
            continue
        for target in targets:
            place = target.value if isinstance(target, ast.Subscript) else target
            if isinstance(place, ast.Attribute) and place.attr == name:
                yield node.lineno


def _is(node: ast.AST, name: str, code: Any) -> bool:
    """A literal; an f-string that can read so; an attribute of the class (``cls.right``) with that value."""
    if isinstance(node, ast.JoinedStr):
        parts = (re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".+" for p in node.values)
        return re.fullmatch("".join(parts), name) is not None and len(node.values) > 1
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("cls", "self"):
        return bool(isinstance(getattr(code, node.attr, None), str) and getattr(code, node.attr) == name)
    return isinstance(node, ast.Constant) and node.value == name
