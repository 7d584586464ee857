"""LoRA on the principal directions of a layer's inputs (EVA, arXiv 2410.07170), as the authors compute them.

Incremental and centred, over the rows X of one batch after the other (m rows now, N so far, mean_N their mean):

    X_0 - mean(X_0)                                                                  in the first step
    [diag(S) V ; X - mean(X) ; sqrt(N m / (N + m)) (mean_N - mean(X))]               in each later one

of which the n leading right singular vectors V: (n, d) and values S are kept, each row of V with its largest entry
positive. The decomposition is randomised (q = 2 n, four rounds of subspace iteration); exact where q is all there is.

    explained variance  S^2 / (N - 1)        ratio  S^2 / (sum of squared deviations of all N rows)

Ranks: of all (layer, component) pairs by descending metric the first r * layers are kept. Batches come round again
until the first rank_l components of each layer have a cosine of at least tau with those of the step before. Layers with
the same input share one decomposition; the one that owns it gets the larger of their two ranks.
A_l: the first rank_l components; B = 0; the scale is alpha / rank_l, not alpha / r.

``whiten`` divides each row by sqrt(S_i). The authors do it in place, once for each layer, on the one array that layers
with the same input share: rows that k of them keep are divided k times. ``in_place`` False divides once.

Source: https://github.com/ml-jku/EVA at a5ac24bc: src/svd.py, src/utils.py; torch-incremental-pca 0.0.13.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import torch
from torch import Tensor

from refs.transcriptions.pissa import iterated

ROUNDS = 4
METRICS: Mapping[str, Callable[[Principal], Tensor]] = {
    "ratio": lambda p: p.ratio,
    "raw": lambda p: p.variance,
    "sum": lambda p: p.variance / p.variance.sum(),
    "max": lambda p: p.variance / p.variance.max(),
}


@dataclass(frozen=True)
class Principal:
    """The state of the incremental decomposition: ``V: (n, d)``, ``S: (n,)`` after ``count`` rows."""

    n: int
    V: Tensor = field(default_factory=lambda: torch.empty(0))
    S: Tensor = field(default_factory=lambda: torch.empty(0))
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    deviations: Tensor = field(default_factory=lambda: torch.zeros(()))
    """Sum of squared deviations from the mean, per input."""
    count: int = 0
    converged: tuple[bool, ...] = ()

    @property
    def variance(self) -> Tensor:
        """Explained by each component."""
        return self.S.square() / (self.count - 1)

    @property
    def ratio(self) -> Tensor:
        """The share of each component in the whole."""
        return self.S.square() / self.deviations.sum()

    def step(self, X: Tensor, tau: float, test_matrix: Tensor | None = None) -> Principal:
        """After the rows ``X: (m, d)``. ``test_matrix``: what the randomised decomposition drew; exact without."""
        m, mean = len(X), X.mean(dim=0)
        inner = (X - mean).square().sum(dim=0)
        rows, between, total = X - mean, self.count * m / (self.count + m), self.count + m
        if self.count:
            correction = between**0.5 * (self.mean - mean)
            rows = torch.cat([self.S[:, None] * self.V, rows, correction[None]])
        if test_matrix is None:
            _, S, V = torch.linalg.svd(rows, full_matrices=False)
        else:
            _, S, V = iterated(rows, test_matrix, ROUNDS)
        V = V * V.gather(1, V.abs().argmax(dim=1, keepdim=True)).sign()
        V, S = V[: self.n], S[: self.n]
        kept = (False,) * len(V)
        if self.count:
            kept = tuple((torch.cosine_similarity(V, self.V, dim=1) >= tau).tolist())
        moved = between * (self.mean - mean).square() if self.count else 0.0
        return type(self)(
            self.n, V, S, (self.count * self.mean + m * mean) / total, self.deviations + inner + moved, total, kept
        )


@dataclass(frozen=True)
class Settled:
    """What the search found: ranks by layer, the rows of A by layer, and the number of steps."""

    ranks: Mapping[str, int]
    A: Mapping[str, Tensor]
    steps: int


def redistribute(
    shares: Mapping[str, Tensor], budget: int, owners: Mapping[str, str], *, ascending: bool = False
) -> dict[str, int]:
    """Ranks of the layers, in the order of ``shares``. ``owners``: a layer -> whose decomposition it shares.

    Of equal shares the first layer's count, and with ``ascending`` (the authors' other helper) the last one's.
    """
    pairs = [(value, name) for name, values in shares.items() for value in values.tolist()]
    pairs.sort(key=lambda pair: pair[0] if ascending else -pair[0])
    kept = pairs[len(pairs) - budget :] if ascending else pairs[:budget]
    counts = Counter(name for _, name in kept)
    ranks = {name: counts[name] for name in shares}
    for name, owner in owners.items():
        if ranks[name] > ranks[owner]:
            ranks[name], ranks[owner] = ranks[owner], ranks[name]
    return ranks


def search(
    batches: Sequence[Mapping[str, Tensor]],
    owners: Mapping[str, str],
    r: int,
    rho: float,
    *,
    metric: str = "ratio",
    tau: float = 0.99,
    min_batches: int = 1,
    whiten: bool = False,
    scaled: bool = False,
    in_place: bool = True,
) -> Settled:
    """Over ``batches``, each the rows ``(m, d)`` of the layers that own a decomposition, by name.

    ``owners``: each layer that shares one -> its owner. ``scaled``: rows times S_i / S_1 where not whitened.
    """
    n = round(r * rho)
    found = {name: Principal(n) for name in batches[0]}
    layers = [*found, *owners]
    ranks = dict.fromkeys(layers, n)
    steps = 0
    for steps, batch in enumerate(cycle(batches)):
        done = {name: bool(p.converged) and all(p.converged[: ranks[name]]) for name, p in found.items()}
        if all(done.values()) and steps > min_batches:
            break
        for name, p in found.items():
            if not done[name]:
                found[name] = p.step(batch[name], tau)
        shares = {name: METRICS[metric](found[owners.get(name, name)]) for name in layers}
        ranks = redistribute(shares, r * len(layers), owners)
    return Settled(ranks, _rows(found, ranks, owners, whiten, scaled, in_place), steps)


def _rows(
    found: Mapping[str, Principal],
    ranks: Mapping[str, int],
    owners: Mapping[str, str],
    whiten: bool,
    scaled: bool,
    in_place: bool,
) -> dict[str, Tensor]:
    """A of each layer. With ``in_place`` what is done for one layer is done to all that share its array."""
    arrays = {name: (p.V.clone(), p.S.clone()) for name, p in found.items()}
    A = {}
    for name in [name for name in [*found, *owners] if ranks[name]]:
        V, S = arrays[owners.get(name, name)]
        V, S = (V, S) if in_place else (V.clone(), S.clone())
        V, S = V[: ranks[name]], S[: ranks[name]]
        if whiten:
            V /= S.sqrt()[:, None]
        elif scaled:
            S /= S.max().clone()
            V *= S[:, None]
        A[name] = V
    return A


def scale(alpha: float, rank: int) -> float:
    """What multiplies a layer's update: of its own rank."""
    return alpha / rank


def start(components: Tensor, kaiming: Tensor | None, count: int | None) -> Tensor:
    """A of one layer. With ``count`` only so many rows are components, the others stay as they were drawn."""
    if count is None or kaiming is None:
        return components
    return torch.cat([components[:count], kaiming[count:]])


def masked(rows: Tensor, masks: Iterable[Tensor]) -> Tensor:
    """The rows that each mask keeps, ``(m, d)``."""
    keep = torch.ones(rows.shape[:-1], dtype=torch.bool)
    for mask in masks:
        keep &= mask
    return rows[keep]
