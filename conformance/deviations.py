"""What the variants declare to do differently, and why. Every row must show on every run.

A declaration never widens a tolerance: the case still reads DIFFER, and the card says so.
"""

from __future__ import annotations

from conformance.model import Deviation

PEFT_HRA = "https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/hra/layer.py#L111"

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        variant="hra",
        cases="hra/peft:hra/params/*-odd-rank",
        what="an odd rank is refused with an error; peft warns and starts at random, away from the identity",
        why="reflections cancel in pairs, so an odd number of them has no start at the identity",
        link=PEFT_HRA,
        by_default=False,
        scope=True,
    ),
    Deviation(
        variant="hra",
        cases="hra/peft:hra/init/*-gram_schmidt",
        what="with Gram-Schmidt U starts unpaired, uniform on +-1/sqrt(r); peft starts with every vector twice",
        why="Gram-Schmidt of a vector and its copy is 0 / 0: peft's own start gives NaN or amplified rounding there",
        link=PEFT_HRA,
        by_default=False,
    ),
)
