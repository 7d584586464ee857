"""``conformance new entry``: a file that puts somebody's class on a layer, as far as its signature tells how."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any

from conformance.foreign.constructor import call_of
from conformance.foreign.entry import method_named
from conformance.planning.names import BadRequest

TEMPLATE = Path(__file__).parents[1] / "commands" / "templates" / "entry.py.txt"


def write_entry(path: Path, method: str, place: str) -> str:
    """Write it; what to do next. BadRequest, with nothing written: for a path that is taken, an unknown method,
    or a class that cannot be imported.
    """
    if path.exists():
        raise BadRequest(f"new entry: got {path}, which is there already; want a free name. Choose another one.")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise BadRequest(f"new entry: got {path}, want a Python file with a plain name, such as audit_mine.py.")
    of = method_named(method)
    module, colon, name = place.partition(":")
    if not colon:
        module, _, name = place.rpartition(".")
        example = f"Write --class {module}:{name} (a colon before the class)." if module else "Write MODULE:CLASS."
        raise BadRequest(f"new entry: --class {place} has no colon. {example}")
    code = _class(module, name, place)
    arguments, missing = call_of(code)
    of_its_own = "layer" not in [a.partition("=")[2] for a in arguments]
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        module=module,
        Class=name,
        method=of.name,
        name=re.sub(r"\W", "_", f"{name}_{of.name}".lower()),
        call=", ".join(arguments),
        copy="\n    copy_base(layer, module)" if of_its_own else "",
        helpers="copy_base, entry" if of_its_own else "entry",
        todo=f"  # TODO: also wants {', '.join(missing)}" if missing else "",
    )
    path.write_text(text, encoding="utf-8")
    return (
        f"Its constructor also wants {', '.join(missing)}: write that into `put`.\n" if missing else ""
    ) + f"conformance audit --entries {path}:ENTRY\ndocs/your-own-code.md says what an entry may promise."


def _class(module: str, name: str, place: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadRequest(
            f"new entry: got --class {place!r} ({error}), want MODULE:CLASS that can be imported."
        ) from error
