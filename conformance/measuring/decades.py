"""A measured figure as its decade: the same on every machine, so that a card may hold it."""

from __future__ import annotations

import math


def decade(x: float) -> str:
    """``between 1e-3 and 1e-2`` for 0.004; zero is below every decade."""
    low = math.floor(math.log10(max(x, 1e-300)))
    return f"between 1e{low} and 1e{low + 1}"
