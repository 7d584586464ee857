"""What finding the leading directions of a weight costs beside decomposing all of it, and how exact each is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conformance.cost.points import Point
from conformance.cost.subjects import Contender, layer_at
from conformance.cost.timing import Spread, ratio
from refs.subject import Subject

DECOMPOSING = {"pissa": "A", "antipasto": "Vh"}
"""Methods that start from the first r singular directions -> the tensor whose rows span those of the input."""
ROUNDS = 3


@dataclass(frozen=True)
class Directions:
    """One method at one width. ``whole``: seconds of the float32 decomposition of all of W; ``to_whole``: the method's
    attaching over that; ``sine``, ``whole_sine``: of the largest angle between the r right singular vectors that each
    found and those that float64 finds.
    """

    name: str
    point: Point
    whole: Spread
    to_whole: Spread
    sine: float
    whole_sine: float


def directions(chosen: Sequence[Contender], point: Point) -> list[Directions]:
    """Of the methods that decompose the weight."""
    asked = [contender for contender in chosen if contender.name in DECOMPOSING]
    if not asked:
        return []
    truth = torch.linalg.svd(layer_at(point).weight.double(), full_matrices=False).Vh[: point.r]
    return [_directions(contender, point, truth) for contender in asked]


def _directions(contender: Contender, point: Point, truth: Tensor) -> Directions:
    ours, whole = [], []
    settings = contender.settings(point)
    for _ in range(ROUNDS):
        layer = layer_at(point)
        start = time.perf_counter()
        subject: Subject = contender.entry.build(layer, settings)
        ours.append(time.perf_counter() - start)
        layer = layer_at(point)
        start = time.perf_counter()
        Vh: Tensor = torch.linalg.svd(layer.weight, full_matrices=False).Vh
        whole.append(time.perf_counter() - start)
    return Directions(
        contender.name,
        point,
        Spread.of(whole),
        ratio(ours, whole),
        sine(subject.slots()[DECOMPOSING[contender.name]].value.detach(), truth),
        sine(Vh[: point.r], truth),
    )


def sine(rows: Tensor, others: Tensor) -> float:
    """Of the largest angle between what the rows span and what the orthonormal ``others: (r, d)`` span."""
    Q = torch.linalg.qr(rows.double().T).Q.T
    return float(torch.linalg.matrix_norm(Q - (Q @ others.T) @ others, 2))
