"""Mutants that nobody could tell from the original, each with the reason. A row that fits none is an error."""

from __future__ import annotations

Key = tuple[str, str, str, str, str]

EQUIVALENT: dict[Key, str] = {}
"""``(file, function, operator, before, after)`` -> why it is right too."""

NOT_ASKED: dict[Key, str] = {}
"""The same for what shows only with bad input: the tests of the runtime ask for that, the harness does not."""
