"""Which checks must have agreed before an entry is CORRECT: as many as its references can tell anything about."""

from __future__ import annotations

from conformance.judging.judge import LOCK, NEEDED
from conformance.nouns.entry import Entry

RECORDED = "recorded"
"""The check of numbers that were recorded."""
ROUNDING = "low_precision"
"""How much rounding is allowed, only a layer can tell."""


def needed(entry: Entry) -> tuple[str, ...]:
    """``NEEDED``; of a method without a layer what a formula or recorded numbers can tell. The card says so."""
    method = entry.method
    if method is None or method.built or not method.references:
        return NEEDED
    of_numbers = (LOCK, RECORDED) if method.recorded else ()
    of_formula = tuple(check for check in NEEDED if check not in (LOCK, ROUNDING)) if method.closed else ()
    return (*of_numbers, *of_formula)
