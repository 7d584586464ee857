"""Mutants that are known to live, each with the reason: ``known.json``. A row that fits no such mutant is an error."""

from __future__ import annotations

import json
from pathlib import Path

Key = tuple[str, str, str, str, str]
"""``(file, function, operator, before, after)``."""

EQUIVALENT, NOT_ASKED, GAP = "equivalent", "not asked", "gap"
"""Right too; shows with bad input only, of which the tests of the runtime ask; a mistake that would pass."""

FILE = Path(__file__).with_name("known.json")


def _read() -> dict[Key, tuple[str, str]]:
    found: dict[Key, tuple[str, str]] = {}
    for group in json.loads(FILE.read_text(encoding="utf-8")):
        for row in group["mutants"]:
            key = (row["file"], row["function"], row["operator"], row["before"], row["after"])
            if key in found or group["kind"] not in (EQUIVALENT, NOT_ASKED, GAP) or not group["reason"]:
                raise ValueError(f"{FILE.name}: got {group['kind']!r} for {key}, want each mutant once, with a reason")
            found[key] = group["kind"], group["reason"]
    return found


KNOWN = _read()
"""Key -> kind and reason."""
