"""The gates of cost: counts at 1024 x 1024, 512 tokens, rank 16, beside peft's same tuner and against fixed limits."""

from __future__ import annotations

import pytest

from conformance.cost.points import COUNTED
from conformance.cost.subjects import Contender, peft_reference
from subjects.own.roster import ENTRIES
from tests.cost.conftest import Counts

pytestmark = [pytest.mark.xdist_group("counts"), pytest.mark.integration]
"""Both passes of every variant and its rival are counted once in a process."""
EVERY = [entry.name for entry in ENTRIES]
WITH_PEFT = [entry.name for entry in ENTRIES if peft_reference(Contender(entry.name, entry)) is not None]
MB = 10**6
OUTPUT = COUNTED.tokens * COUNTED.d * 4
"""Bytes of an input or an output: half of what a matrix d x d takes."""


def test_who_has_a_rival_in_peft() -> None:
    """The gates below would compare with nobody."""
    assert {"lora", "pissa", "delora", "ia3", "ia3_ff", "dora", "hra", "eva", "road"} == set(WITH_PEFT)


@pytest.mark.parametrize("name", WITH_PEFT)
def test_no_more_matrix_flops_than_peft(counts: Counts, name: str) -> None:
    """A variant would cost more work than the library that it is measured against."""
    row = counts[name]
    assert row.peft is not None
    assert row.bare.flops <= row.ours.flops <= row.peft.flops
    assert row.bare.forward_flops <= row.ours.forward_flops <= row.peft.forward_flops


@pytest.mark.parametrize("name", WITH_PEFT)
def test_no_more_saved_for_the_backward_than_peft(counts: Counts, name: str) -> None:
    """A variant would need more memory in training than the library that it is measured against."""
    row = counts[name]
    assert row.peft is not None
    assert row.ours.saved <= row.peft.saved
    assert row.ours.held <= row.peft.held


@pytest.mark.parametrize("name", WITH_PEFT)
def test_the_same_number_of_trainable_parameters_as_peft(counts: Counts, name: str) -> None:
    """Costs of adapters of different sizes would be compared."""
    row = counts[name]
    assert row.peft is not None
    assert row.ours.trainable == row.peft.trainable > 0
    assert row.ours.adapter_bytes == row.peft.adapter_bytes


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("lora", 1.047),
        ("pissa", 1.047),
        ("eva", 1.047),
        ("delora", 1.047),
        ("dora", 1.07),
        ("hra", 1.06),
        ("ia3", 1.0),
        ("ia3_ff", 1.0),
        ("road", 1.0),
        ("antipasto", 1.032),
        ("antipasto_rot", 1.032),
        ("antipasto_ablate", 1.032),
        ("antipasto_corda", 1.032),
        ("antipasto_arrow", 1.032),
    ],
)
def test_matrix_flops_over_the_bare_layer(counts: Counts, name: str, limit: float) -> None:
    """A method of rank r would do work of the size of the layer: 1 + 3 r / d is what three thin products cost."""
    row = counts[name]
    assert row.ours.flops / row.bare.flops <= limit


def test_every_variant_has_a_limit_of_flops() -> None:
    """A new variant would be held against nothing."""
    (mark,) = test_matrix_flops_over_the_bare_layer.pytestmark
    assert {name for name, _ in mark.args[1]} == set(EVERY)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("lora", 0.05),
        ("pissa", 0.05),
        ("eva", 0.05),
        ("hra", 0.2),
        ("delora", 0.2),
        ("dora", 2.2),
        ("ia3", 2.2),
        ("ia3_ff", 0.01),
        ("road", 2.2),
        ("antipasto", 0.1),
        ("antipasto_rot", 0.1),
        ("antipasto_ablate", 0.1),
        ("antipasto_corda", 0.1),
        ("antipasto_arrow", 0.1),
    ],
)
def test_megabytes_saved_for_the_backward(counts: Counts, name: str, limit: float) -> None:
    """A tensor of tokens x d (2.1 MB) more than the method needs would be kept until the backward."""
    row = counts[name]
    assert row.ours.saved <= limit * MB
    assert row.ours.held <= limit * MB, "held between the passes, past autograd's own record"


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_the_size_of_the_weight_is_allocated(counts: Counts, name: str) -> None:
    """A variant would form W', or a matrix d x d, in every step."""
    assert counts[name].ours.largest <= OUTPUT


@pytest.mark.parametrize("name", EVERY)
def test_no_more_alive_at_once_than_peft(counts: Counts, name: str) -> None:
    """What is saved between the passes would be paid within them."""
    row = counts[name]
    if row.peft is None:
        assert row.ours.peak - row.bare.peak <= 2 * OUTPUT
    else:
        assert row.ours.peak <= row.peft.peak
