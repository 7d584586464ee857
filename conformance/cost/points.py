"""Where cost is measured: width of the layer, tokens, rank, dtype of the base."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, order=True)
class Point:
    """A linear layer ``d -> d`` with a bias and an input ``(tokens, d)``, both of ``dtype``; adapters of rank ``r``."""

    d: int
    tokens: int
    r: int = 16
    dtype: str = "float32"

    @property
    def id(self) -> str:
        """One word for the point."""
        return f"d{self.d}-n{self.tokens}-r{self.r}-{self.dtype}"


COUNTED = Point(1024, 512)
"""Where the counts are gated. Width and tokens differ, so that sizes tell which is which."""

GROWTH: dict[str, tuple[Point, ...]] = {
    "d": tuple(replace(COUNTED, d=d) for d in (256, 512, 1024, 2048)),
    "tokens": tuple(replace(COUNTED, tokens=tokens) for tokens in (64, 512, 2048)),
    "r": tuple(replace(COUNTED, r=r) for r in (4, 16, 64)),
}
"""Counts along each axis, the others at ``COUNTED``."""

QUICK = (Point(1024, 64), Point(1024, 512))
TIMED = (*QUICK, Point(1024, 2048), Point(2048, 512), Point(4096, 64), Point(4096, 512))
HALF = Point(1024, 64, dtype="bfloat16")
"""A bfloat16 base; both sides keep their adapters in float32 by default. Small: a CPU without bfloat16
arithmetic takes a hundred times as long for the bare layer's gradient as in float32."""
RANKS = (replace(COUNTED, r=4), replace(COUNTED, r=64))
"""Times along the rank; the points above give those along width and tokens."""

DECODED = Point(1024, 1)
"""One token in inference mode."""
TINY = Point(64, 1)
"""So little work that what is left is the overhead of a layer."""
STARTED = (Point(1024, 512), Point(2048, 512))
"""Where the initialisation is measured."""

SPECTRA = (Point(1024, 512), Point(2048, 512), Point(4096, 512))
"""Where a weight's leading directions are looked for."""

WIDE = 4096
"""From this width on, methods whose forward is that of another one are left out: their start alone takes minutes."""
SAME_FORWARD = {"pissa": "lora", "eva": "lora", "antipasto_corda": "antipasto"}
