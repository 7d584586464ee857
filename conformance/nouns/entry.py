"""What is audited: one entry per subject."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import Promises
from conformance.nouns.verdict import Deviation
from refs.reference import Method, Options, Ranks, Starts
from refs.settings import Settings
from refs.subject import Subject

ROOT = Path(__file__).parents[2]
PROJECT = ("pyproject.toml", "setup.py", ".git")
"""What the folder of a project has in it."""
LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+)(?: \((?P<words>.*)\))?$")


@dataclass(frozen=True)
class Entry:
    """One audited implementation.

    ``build`` puts it on a linear layer; ``code`` is the class or function that the findings point at; ``method`` holds
    the references (None: NO_REFERENCE). ``options`` are the option sets to probe apart from the defaults; ``has_rank``,
    ``has_dropout`` and ``specials`` say which probes make sense; ``invariants`` what the method promises beyond its
    formula (``steering``, ``rotation``, ``reflection``, ``contraction``, ``principal``). ``build_stack`` puts it, by
    calibration, on two layers in a row or on the second only, and gives the second one's initial tensors.
    ``ranks`` does so with a model, for a method that gives each layer a rank of its own; ``starts`` with some of its
    layers, of which it gives the tensor that looks at data. ``put`` puts it on layers of a whole model, by the ends of
    their names, given batches for the methods that look at data; its cost there is measured. ``refused`` are option
    sets, ``r`` among them, that must raise an error. ``lifecycle`` holds what else users can do with it; ``promises``
    says what the code promises beyond its formula. ``layers`` lists the layer types that it supports besides
    ``nn.Linear``: ``conv1d`` is transformers' Conv1D.
    """

    name: str
    build: Callable[[nn.Linear, Settings], Subject]
    code: Any
    method: Method | None
    has_rank: bool = True
    has_dropout: bool = False
    options: tuple[Options, ...] = ()
    specials: tuple[str, ...] = ()
    invariants: tuple[str, ...] = ()
    refused: tuple[Options, ...] = ()
    lifecycle: Lifecycle | None = None
    deviations: tuple[Deviation, ...] = ()
    promises: Promises = Promises()
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the entry itself does so that the code can be asked (a call it makes after building): shown on the card."""
    ranks: Ranks | None = None
    starts: Starts | None = None
    put: Callable[[nn.Module, tuple[str, ...], Settings, Sequence[Mapping[str, Tensor]]], None] | None = None
    build_stack: Callable[[tuple[nn.Linear, nn.Linear], Settings, bool], dict[str, Tensor]] | None = None

    @property
    def math(self) -> str:
        """The formula: the first indented block of the module's docstring."""
        module = inspect.getmodule(self.code)
        text = (module.__doc__ if module else "") or ""  # as written: getdoc would dedent a block that is all there is
        block = re.search(r"(?:^ {4,}\S.*\n?)+", text, re.MULTILINE)
        return inspect.cleandoc(block.group()) if block else ""

    @property
    def location(self) -> str:
        """``file:line`` of the code under audit."""
        return at(self.code)


@dataclass(frozen=True)
class Library:
    """The subjects of one library: what ``--entries`` names."""

    name: str
    entries: tuple[Entry, ...]


@cache
def at(code: Any) -> str:
    """``file:line`` of a class or function."""
    return line_at(Path(inspect.getsourcefile(code) or ""), inspect.getsourcelines(code)[1])


def line_at(file: Path, line: int, function: str = "") -> str:
    """``file:line``; in an installed package ``file:line (function)``, or with the version if no function is named.

    The same on every machine: no path of this one.
    """
    place, version = _place(file)
    words = (function.replace(".<locals>", "") or version) if version else ""
    return f"{place}:{line}" + (f" ({words})" if words else "")


def split_line(location: str) -> tuple[str, int, str]:
    """File, line and the words in parentheses of what ``line_at`` gave; line 0 if it is no such place."""
    found = LINE.match(location)
    return (found["file"], int(found["line"]), found["words"] or "") if found else (location, 0, "")


def _place(file: Path) -> tuple[str, str]:
    """A source file for a reader elsewhere, and the version of the installed package that it is in.

    Its path in its package, below this repository, in the project that it belongs to, below the folder of the command;
    else its name.
    """
    path = file.resolve()
    parts = path.parts
    if "site-packages" in parts:
        inside = parts[len(parts) - parts[::-1].index("site-packages") :]
        return "/".join(inside), _version(inside[0].removesuffix(".py"))
    projects = [folder for folder in path.parents if any((folder / mark).exists() for mark in PROJECT)]
    for folder in (ROOT, *projects[:1], Path.cwd(), _importable(path)):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix(), ""
    return path.name, ""


def _importable(path: Path) -> Path:
    """The folder from which the outermost package that holds the file is imported."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


@cache
def _version(package: str) -> str:
    names = metadata.packages_distributions().get(package, [package])
    try:
        return f"{names[0]} {metadata.version(names[0])}"
    except metadata.PackageNotFoundError:
        return f"{package}, version unknown"
