"""Whether a reference means anything at a point: how far does rounding of what it is given move what it gives?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from conformance.measuring.trial import Trial, run
from conformance.nouns.finding import Fault, Finding, Outcome
from refs.calibration import nudged
from refs.reference import Built
from refs.subject import Subject

NUDGE = 16
"""Size of the nudge in units of eps, relative to each number."""
PATTERNS = (1, 2, 3, 4)
"""Random patterns of signs in which the weight of a decomposition moves. One alone may leave two directions with close
singular values as they are, by chance; what any of them turns is known no better."""
JUMP = 1e-6
"""A move of the output beyond this share of its size is not rounding any more (float64)."""


def blamed(trial: Trial, values: Mapping[str, Tensor], finding: Finding) -> Finding:
    """The finding; a difference (or an error) where the reference is ill-posed is the reference's fault."""
    if finding.outcome is Outcome.DIFFER and isinstance(trial.reference, Built) and ill_posed(trial, values):
        return replace(finding, fault=Fault.REFERENCE)
    return finding


def ill_posed(trial: Trial, values: Mapping[str, Tensor]) -> bool:
    """True when the reference gives NaN at these tensors, or another output after a nudge by a few roundings.

    There is then nothing to agree with: 0 / 0 and Gram-Schmidt on parallel vectors are such points.
    """
    eps = torch.finfo(torch.float64).eps
    outputs = []
    for sign in (0.0, 1.0, -1.0):
        nudged = {name: trial.moved(name, v, 0) * (1 + sign * NUDGE * eps * signs(v)) for name, v in values.items()}
        outputs.append(run(trial.reference_subject(values=nudged), trial.x, trial.cotangent, backward=False).y)
    if not outputs[0].numel():
        return False
    if any(y.isnan().any() for y in outputs):
        return True
    size = outputs[0].abs().max()
    return any(bool((y - outputs[0]).abs().max() > JUMP * size) for y in outputs[1:])


def moved_by_rounding(
    trial: Trial, read: Callable[[Subject], Mapping[str, Tensor]], *, on_data: bool = False
) -> dict[str, float]:
    """How far the reference's fresh start moves when its weight, or its calibration inputs, move by ``NUDGE`` roundings
    of float32, number by number.

    A decomposition in that precision is known no better: what it returns is exact for a matrix some roundings away, and
    where two singular values are close, each correct algorithm finds other vectors.
    """
    eps = NUDGE * torch.finfo(torch.float32).eps
    of_weights = [read(trial.reference_subject(_moved_layer(trial, eps, pattern))) for pattern in PATTERNS]
    starts = [read(trial.reference_subject(trial.layer())), *of_weights]
    for of_inputs in (eps, -eps) if on_data else ():
        with nudged(of_inputs):
            starts.append(read(trial.reference_subject(trial.layer())))
    return {
        name: max((other[name].double() - value.double()).abs().max().item() for other in starts[1:])
        for name, value in starts[0].items()
    }


def _moved_layer(trial: Trial, by: float, pattern: int, dtype: str | None = None) -> nn.Linear:
    layer = trial.layer(dtype)
    layer.weight.data.copy_(moved_weight(layer.weight.detach(), by, pattern))
    return layer


def moved_weight(weight: Tensor, by: float, pattern: int) -> Tensor:
    """The weight with a random error of the share ``by`` of its norm, as far as two singular vectors are concerned.

    The backward error of a decomposition is bounded in norm and may lie between two directions with close singular
    values. One that is spread over all entries has only the share ``1 / sqrt(min(d_in, d_out))`` there: it is enlarged.
    """
    moved: Tensor = weight * (1 + by * min(weight.shape) ** 0.5 * signs(weight, pattern))
    return moved


def moved_starts(trial: Trial, read: Callable[[Subject], Mapping[str, Tensor]]) -> list[Mapping[str, Tensor]]:
    """The reference's fresh starts in float32 for weights with an error of one rounding, in each of the patterns."""
    eps = torch.finfo(torch.float32).eps
    return [read(trial.reference_subject(_moved_layer(trial, eps, pattern, "float32"))) for pattern in PATTERNS]


def farthest(value: Tensor, moved: Iterable[Tensor]) -> Tensor:
    """Of several moved values the one whose root mean square distance is the largest."""
    return max(moved, key=lambda other: (other.double() - value.double()).square().mean().item())


def signs(t: Tensor, pattern: int = 0) -> Tensor:
    """A fixed pattern of +1 and -1: a wave, or one that looks random for each other number."""
    if pattern:
        drawn = np.random.default_rng([pattern, t.numel()]).integers(0, 2, t.numel())
        return torch.from_numpy(2 * drawn - 1).to(t.dtype).reshape(t.shape)
    return (torch.arange(t.numel(), dtype=t.dtype).reshape(t.shape) * 2.399963).sin().sign()
