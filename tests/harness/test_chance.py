"""What is decided by chance where few numbers are drawn, or where two singular values are close, and how it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conformance.checks.start.distribution import STEPS, TELLING, by_chance, distribution
from conformance.nouns.finding import Outcome
from conformance.planning.plan import Planned
from conformance.running.run import run_case
from proof.ask import cases_of
from subjects.own.roster import ENTRIES


def drawn(seed: int, count: int, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """``count`` draws of a normal tensor."""
    return scale * torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def agree(got: Tensor, want: Tensor) -> bool:
    """Whether nothing of the two distributions differs."""
    return all(c.agrees for c in distribution("c", got, want))


def decided(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> bool:
    """Whether two samples agree, with as many draws as it takes."""
    got, want = drawn(2 * seed, STEPS[-1], shape, scale), drawn(2 * seed + 1, STEPS[-1], shape)
    for n in (32, *STEPS):
        told = distribution("c", got[:n], want[:n])
        agree = all(c.agrees for c in told)
        if (agree and (n == 32 or got[:n].numel() >= TELLING)) or (not agree and not by_chance(told, got[:n].numel())):
            break
    return agree


@pytest.mark.parametrize("shape", [(8, 1), (8, 4), (8, 32)])
def test_few_numbers_agree_if_they_are_drawn_alike(shape: tuple[int, ...]) -> None:
    """Most correct implementations that draw eight numbers in another order would be called wrong."""
    first = [agree(drawn(2 * i, 32, shape), drawn(2 * i + 1, 32, shape)) for i in range(60)]
    assert shape == (8, 32) or not all(first)
    assert [i for i in range(60) if not decided(shape, i)] == []


@pytest.mark.parametrize("scale", [0.85, 1.15, 2.0])
def test_another_spread_is_no_chance(scale: float) -> None:
    """A start of another standard deviation would be excused as chance; most are seen in the first draws."""
    unseen = [i for i in range(30) if decided((8, 32), i, scale)]
    assert unseen == []


def test_what_more_draws_cannot_change_is_not_drawn_again() -> None:
    """Thousands of layers would be built for a tensor of another shape, or one whose spread is off tenfold."""
    assert not by_chance(distribution("c", drawn(0, 32, (64, 32), 10.0), drawn(1, 32, (64, 32))), 32 * 64 * 32)
    assert not by_chance(distribution("c", drawn(0, 32, (8, 2)), drawn(1, 32, (8, 1))), 256)


def other_weights(planned: Planned, seeds: range) -> list[Planned]:
    """The case on other random weights."""
    return [replace(planned, probe=replace(planned.probe, seed=planned.probe.seed + 1000 * s)) for s in seeds]


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_a_decomposition_agrees_with_the_closed_form_on_any_weight(dtype: str) -> None:
    """PiSSA would be CORRECT on one weight and BUGGY on another: of close singular values float32 mixes the vectors."""
    pissa = next(entry for entry in ENTRIES if entry.name == "pissa")
    start = f"pissa/closed:pissa/init/t0-{dtype}+default-in32-out16-r8-alpha16-bias-batch2x3"
    planned = next(p for p in cases_of(pissa, {"init"}) if p.case.id == start)
    found = [run_case(p) for p in other_weights(planned, range(24))]
    assert [f.message() for f in found if f.outcome is not Outcome.AGREE] == []
