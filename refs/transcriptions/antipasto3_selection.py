"""Which singular dimensions AntiPaSTO3 keeps, and in which order (arXiv 2601.07473).

    rows 0, 2, 4, ... of the projected activations are chosen answers c_n, rows 1, 3, 5, ... rejected ones j_n
    score_l1_trip:        the union of
        the r//3 highest of   S mean_n |c_n|
        the r//3 highest of   S mean_n |j_n|
        the rest - rest//2 highest of   S max(mean_n (c_n - j_n), 0),    rest = r - 2 (r//3)
        the rest//2 highest of          S max(mean_n (j_n - c_n), 0)
      filled up to r with the highest not yet taken of the maximum of the four; ascending
    polarity_interleave:  by descending mean_n (c_n - j_n) (without S): first, last, second, last but one, ...

    S: (k,)   activations: (2 n, k)   r < k;  r even to interleave

Of equal scores the lower index comes first, scores of zero included.

Source: https://github.com/wassname/antipasto3, svd_adapter.py, from the snapshot in
https://github.com/wassname/lora-lite at d0b4c52: docs/refs/antipasto3_svd_adapter.py.
"""

from __future__ import annotations

import torch
from torch import Tensor


def score_l1_trip(S: Tensor, activations: Tensor, r: int) -> list[int]:
    """Indices of r dimensions that are strong on either side or tell the sides apart, ascending."""
    chosen, rejected = activations[0::2], activations[1::2]
    apart = (chosen - rejected).mean(dim=0)
    scores = (S * chosen.abs().mean(dim=0), S * rejected.abs().mean(dim=0), S * apart.relu(), S * (-apart).relu())
    third = r // 3
    rest = r - 2 * third
    taken: set[int] = set()
    for score, count in zip(scores, (third, third, rest - rest // 2, rest // 2)):
        taken.update(descending(score)[:count])
    best = torch.stack(scores).amax(dim=0)
    fill = [i for i in descending(best) if i not in taken]
    return sorted([*taken, *fill[: r - len(taken)]])


def polarity_interleave(activations: Tensor, selected: list[int]) -> list[int]:
    """The selected indices, so that neighbours have opposite polarity. ValueError for an odd number of them."""
    if len(selected) % 2:
        raise ValueError(f"got {len(selected)} indices, want an even number: they are laid out in pairs")
    polarity = (activations[0::2] - activations[1::2]).mean(dim=0)[selected]
    order = descending(polarity)
    half = len(order) // 2
    return [selected[i] for pair in zip(order[:half], reversed(order[half:])) for i in pair]


def descending(scores: Tensor) -> list[int]:
    """Indices from the highest score to the lowest; of equal scores the lower index comes first."""
    order: list[int] = torch.argsort(scores, descending=True, stable=True).tolist()
    return order
