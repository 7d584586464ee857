"""Every method that has a reference, one line each."""

from __future__ import annotations

from refs.methods import (
    antipasto,
    antipasto_ablate,
    antipasto_arrow,
    antipasto_corda,
    antipasto_rot,
    delora,
    dora,
    eva,
    hra,
    ia3,
    ia3_ff,
    lora,
    pissa,
    road,
)
from refs.reference import Method

METHODS: tuple[Method, ...] = (
    lora.METHOD,
    pissa.METHOD,
    delora.METHOD,
    ia3.METHOD,
    ia3_ff.METHOD,
    dora.METHOD,
    hra.METHOD,
    eva.METHOD,
    road.METHOD,
    antipasto.METHOD,
    antipasto_rot.METHOD,
    antipasto_ablate.METHOD,
    antipasto_corda.METHOD,
    antipasto_arrow.METHOD,
)
