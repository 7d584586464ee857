"""Options of a config, as they are written on a command line: ``--set r=16 --set rotation=cayley``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from conformance.planning.names import BadRequest

TARGETS = "targets"


def parsed(options: Sequence[str]) -> dict[str, Any]:
    """``("r=4", "rotation=cayley")`` as ``{"r": 4, "rotation": "cayley"}``. BadRequest for what has another form."""
    found: dict[str, Any] = {}
    for each in options:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier() or name in found or name == TARGETS:
            why = "twice" if name in found else "which --targets is for" if name == TARGETS else "without 'name=value'"
            raise BadRequest(f"--set: got {each!r} {why}, want an option of the config, once: --set r=16.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
