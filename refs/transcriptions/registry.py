"""Every transcription, one line each, and the way from a golden vector to its own."""

from __future__ import annotations

from refs.golden_vectors import Vector
from refs.transcriptions import (
    antipasto,
    antipasto3,
    antipasto_ablate,
    antipasto_arrow,
    antipasto_corda,
    antipasto_rot,
    antipasto_torch,
    delora,
    hra,
    ia3,
    lora,
    pissa,
    road,
)
from refs.transcriptions.transcription import Transcription

TRANSCRIPTIONS: tuple[Transcription, ...] = (
    hra.INPUT_SIDE,
    hra.OUTPUT_SIDE,
    delora.TRANSCRIPTION,
    pissa.TRANSCRIPTION,
    lora.TRANSCRIPTION,
    ia3.TRANSCRIPTION,
    road.TRANSCRIPTION,
    antipasto3.TRANSCRIPTION,
    antipasto_torch.TRANSCRIPTION,
    antipasto.TRANSCRIPTION,
    antipasto_rot.TRANSCRIPTION,
    antipasto_ablate.TRANSCRIPTION,
    antipasto_corda.TRANSCRIPTION,
    antipasto_arrow.TRANSCRIPTION,
)


def of(vector: Vector) -> Transcription:
    """The transcription of a vector that records a layer. KeyError for one that records something else."""
    for transcription in TRANSCRIPTIONS:
        if vector.variant in transcription.variants:
            return transcription
    raise KeyError(f"got variant {vector.variant!r} of {vector.file}, which no transcription names; see {__name__}")
