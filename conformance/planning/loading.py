"""What ``--entries MODULE:ATTRIBUTE`` names, imported; or an error that says what is wrong with it."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from conformance.planning.names import BadRequest, did_you_mean

KINDS = "an Entry, a tuple of entries, a Library or a conforms_to test"


def loaded(place: str) -> Any:
    """The value at ``MODULE:ATTRIBUTE``, of a test made by ``conforms_to`` its entry. BadRequest if there is none."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a module in the current folder can be named; last, so that it shadows nothing
    name, _, attribute = place.partition(":")
    module = _imported(name)
    if not attribute:
        example = next(iter(_candidates(module)), "ENTRY")
        raise BadRequest(
            f"--entries {place}: the attribute is missing. Write {place.rstrip(':')}:{example} ({_found(module)})."
        )
    try:
        value = getattr(module, attribute)
    except AttributeError:
        near = did_you_mean(attribute, _candidates(module))
        raise BadRequest(
            f"--entries {place}: {name} has no {attribute!r} ({_found(module)}). {near}".rstrip()
        ) from None
    asked = getattr(value, "conformance_asked", None)
    return value if asked is None else asked().entry


def wrong_kind(place: str, value: object) -> BadRequest:
    """The error for a value that holds no entries."""
    if isinstance(value, list):
        return BadRequest(f"--entries {place} is a list. Write a tuple of entries: tuple([...]) or (...,).")
    odd = [type(each).__name__ for each in value] if isinstance(value, tuple) else []
    told = f"a tuple of {', '.join(dict.fromkeys(odd))}" if odd else f"of type {type(value).__name__}"
    return BadRequest(f"--entries {place} is {told}. It must be {KINDS}.")


def _imported(name: str) -> ModuleType:
    """A module by its name, or by its file (``path/to/mine.py``), whose folder then is on the path.

    A file in a package (a folder with ``__init__.py``) is imported by its full name, as pytest does.
    """
    if not name:
        raise BadRequest("--entries: the module is missing. Write MODULE:ATTRIBUTE, such as mine.py:ENTRY.")
    told, full = name, name
    if name.endswith(".py"):
        file = Path(name).resolve()
        if not file.is_file():
            raise BadRequest(f"--entries: there is no file {name} in {Path.cwd()}.")
        folder, full = file.parent, file.stem
        while (folder / "__init__.py").is_file():
            folder, full = folder.parent, f"{folder.name}.{full}"
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    try:
        return importlib.import_module(full)
    except BadRequest:
        raise
    except SyntaxError as error:
        where = "" if Path(error.filename or "").name == Path(name).name else f"{error.filename}, "
        line = f": {error.text.strip()}" if error.text else ""
        raise BadRequest(f"cannot read the entry file {told}: {where}line {error.lineno}: {error.msg}{line}") from error
    except Exception as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and told == full
            and (full + ".").startswith(error.name + ".")
        ):
            raise BadRequest(
                f"--entries: there is no module {error.name!r} to import from {Path.cwd()}. "
                "Run where it is, or name its file: path/to/mine.py:ENTRY."
            ) from None
        raise BadRequest(_raised(told, error)) from error


def _raised(name: str, error: Exception) -> str:
    """An error of the file's own, with the last line of the file that led to it."""
    stem = Path(name).stem if name.endswith(".py") else name.rpartition(".")[2]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).stem == stem]
    line = f", line {frames[-1].lineno}" if frames else ""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return f"The entry file {name} raised an error on import{line}: {told}. {_hint(error)}Correct the file."


def _hint(error: Exception) -> str:
    """The parameter that was probably meant, of the functions of this package."""
    found = re.search(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if not isinstance(error, TypeError) or found is None:
        return ""
    import conformance

    called = getattr(conformance, found[1], None)
    return did_you_mean(found[2], inspect.signature(called).parameters) if callable(called) else ""


def _candidates(module: ModuleType) -> list[str]:
    """The names in the module that hold entries."""
    from conformance.nouns.entry import Entry, Library

    def holds(value: object) -> bool:
        several = isinstance(value, tuple) and bool(value) and all(isinstance(each, Entry) for each in value)
        return several or isinstance(value, Entry | Library) or hasattr(value, "conformance_asked")

    return [name for name, value in vars(module).items() if holds(value)]


def _found(module: ModuleType) -> str:
    names = _candidates(module)
    return f"found in the file: {', '.join(names)}" if names else f"found in the file: no {KINDS.removeprefix('an ')}"
