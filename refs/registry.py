"""Every method that has a reference, one line each."""

from __future__ import annotations

from refs.methods import dora, hra, ia3, ia3_ff, lora
from refs.reference import Method

METHODS: tuple[Method, ...] = (lora.METHOD, dora.METHOD, ia3.METHOD, ia3_ff.METHOD, hra.METHOD)
