"""Methods that other libraries have and this suite's variants do not: each by a closed form alone.

    LoHa  W' = W + alpha / r * (w1_a w1_b) * (w2_a w2_b), the products of two matrices multiplied number by number
    LoKr  W' = W + alpha / r * kron(w1, w2_a w2_b), d_out and d_in each split into the two factors nearest to equal

The bias stays. LoHa is FedPara's product (Hyeon-Woo et al., 2022); both are as LyCORIS defines them (Yeh et al., 2024).
The shapes: w1_a, w2_a (d_out, r), w1_b, w2_b (r, d_in) in LoHa; w1 (a, c), w2_a (b, r), w2_b (r, d) in LoKr, with
d_out = a b, d_in = c d, a <= b, c <= d.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt

import torch
from torch import Tensor, nn

from refs.foreign.formula import formula
from refs.reference import Method
from refs.settings import Settings

Start = Callable[[Tensor, Settings], Mapping[str, Tensor]]

LOKR_RANK = 1
"""The rank at which LoKr is asked: its second factor is a product of two matrices on every layer of the plan."""


def _matrices(W: Tensor, r: int) -> dict[str, Tensor]:
    d_out, d_in = W.shape
    return {f"w{n}_{side}": torch.empty((d_out, r) if side == "a" else (r, d_in)) for n in (1, 2) for side in "ab"}


def loha(t: Mapping[str, Tensor], W: Tensor, b: Tensor, settings: Settings) -> Tensor:
    """W'."""
    return W + settings.alpha / settings.r * (t["w1_a"] @ t["w1_b"]) * (t["w2_a"] @ t["w2_b"])


def start_of_lycoris(W: Tensor, settings: Settings) -> dict[str, Tensor]:
    """Normal numbers, w1_a a tenth as large; w2_a is zero."""
    made = _matrices(W, settings.r)
    for name, std in (("w1_a", 0.1), ("w1_b", 1.0), ("w2_b", 1.0)):
        nn.init.normal_(made[name], std=std)
    nn.init.zeros_(made["w2_a"])
    return made


def start_of_fedpara(W: Tensor, settings: Settings) -> dict[str, Tensor]:
    """He's uniform numbers with a = sqrt(5); w2_b is zero."""
    made = _matrices(W, settings.r)
    for name in ("w1_a", "w1_b", "w2_a"):
        nn.init.kaiming_uniform_(made[name], a=5**0.5)
    nn.init.zeros_(made["w2_b"])
    return made


def factors(n: int) -> tuple[int, int]:
    """The two factors of n nearest to equal, the smaller first."""
    small = next(m for m in range(isqrt(n), 0, -1) if n % m == 0)
    return small, n // small


def lokr(t: Mapping[str, Tensor], W: Tensor, b: Tensor, settings: Settings) -> Tensor:
    """W'."""
    w2 = t["w2_a"] @ t["w2_b"]
    product = torch.einsum("ac,bd->abcd", t["w1"], w2).reshape(W.shape)
    return W + settings.alpha / LOKR_RANK * product


def start_of_lokr(W: Tensor, settings: Settings) -> dict[str, Tensor]:
    """He's uniform numbers with a = sqrt(5); w2_b is zero."""
    (a, b), (c, d) = (factors(n) for n in W.shape)
    made = {"w1": torch.empty(a, c), "w2_a": torch.empty(b, LOKR_RANK), "w2_b": torch.zeros(LOKR_RANK, d)}
    for name in ("w1", "w2_a"):
        nn.init.kaiming_uniform_(made[name], a=5**0.5)
    return made


def _loha(start: Start) -> Method:
    return Method("loha", (formula("loha", loha, start, "W' = W + alpha/r (w1_a w1_b) * (w2_a w2_b), b' = b"),))


LOHA, LOHA_HE = _loha(start_of_lycoris), _loha(start_of_fedpara)
LOKR = Method("lokr", (formula("lokr", lokr, start_of_lokr, "W' = W + alpha/r kron(w1, w2_a w2_b), b' = b"),))
