"""What wrong variants on record did to a check: the seeded faults that it detected, from ``reports/proof.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = 6


@dataclass(frozen=True)
class Meaning:
    """Seeded faults that a check detected: how many, and some of them in words."""

    n: int
    told: tuple[str, ...]
    recorded: bool = True
    """Whether there was a record to look in."""


def recorded(file: Path) -> list[dict[str, Any]]:
    """The rows on seeded faults; none where there is no such file, or none that can be read."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        rows = data.get("seeded_faults") or data.get("museum") or []
        return [row for row in rows if {"bug", "like", "kills"} <= row.keys()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def meaning(rows: Iterable[Mapping[str, Any]], check: str, variant: str) -> Meaning:
    """Those of the same variant or method first, then those that this check alone detected."""
    rows = tuple(rows)
    hit = [row for row in rows if check in row["kills"]]
    hit.sort(key=lambda row: (row["like"] != variant, len(row["kills"]), row["bug"]))
    told = dict.fromkeys(f"{row['bug']} ({row['like']})" for row in hit)
    return Meaning(len(hit), tuple(told)[:SHOWN], recorded=bool(rows))
