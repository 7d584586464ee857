"""Which checks must have agreed before an entry is CORRECT: as many as its references can tell anything about."""

from __future__ import annotations

from conformance.judging.judge import LOCK, NEEDED
from conformance.nouns.entry import Entry

ROUNDING = "low_precision"
"""How much rounding is allowed, only a layer can tell."""


def needed(entry: Entry) -> tuple[str, ...]:
    """``NEEDED``; of a method with a formula alone without what is asked of layers. The card says so."""
    if entry.method is None or entry.method.built:
        return NEEDED
    return tuple(check for check in NEEDED if check not in (LOCK, ROUNDING))
