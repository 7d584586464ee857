"""Everything that a golden vector records, recomputed: which transcription, and in which way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from refs.golden_vectors import Vector
from refs.reproduce import eva
from refs.reproduce.distance import Distance
from refs.reproduce.layer import dimensions, feed_forward, layer, regulariser, selection, start
from refs.transcriptions.registry import of
from refs.transcriptions.transcription import Transcription

NO_LAYER: Mapping[str, Callable[[Vector], Iterable[Distance]]] = {
    "antipasto3_dim_selection": dimensions,
    "hra_orth_reg": regulariser,
    "ia3_ff_gate": feed_forward,
    "eva_svd_hook": eva.decomposition,
    "eva_compute_svd": eva.search,
    "eva_redistribution": eva.redistribution,
    "eva_adapter": eva.adapter,
}
"""Vectors that record something else than one layer, by variant."""


def reproduce(vector: Vector, transcription: Transcription | None = None) -> list[Distance]:
    """Everything that a vector records, recomputed by a transcription (by its own without one).

    KeyError for a variant that no transcription names; Irreproducible for tensors of another shape than its formula's.
    """
    if vector.variant in NO_LAYER:
        return list(NO_LAYER[vector.variant](vector))
    transcription = transcription or of(vector)
    return [*layer(vector, transcription), *start(vector, transcription), *selection(vector)]
