"""Merging on odd layers: the same outputs to rounding and the way back bit for bit, or an ``AdapterError``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from tests.fuzz.worlds import FEW, ORDINARY, configs, models, state, works_or_refuses
from tests.runtime.models import Quantised, move, refused, small_config
from variants import attach, attachments, detach, merge, unmerge
from variants.runtime.config import AdapterConfig

WIDE = ("lora", "dora", "ia3", "ia3_ff", "hra", "delora", "pissa", "road", "antipasto", "antipasto_rot")


@settings(FEW, max_examples=120)
@given(models(), configs(WIDE))
def test_merge_and_unmerge(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise there would be a layer that merge half changes, or unmerge and detach do not give back."""
    before = state(model)
    with works_or_refuses(model) as refusals:
        attach(model, config)
    if refusals:
        return
    with works_or_refuses(model) as refusals:
        unmerge(model)
    assert refusals, "unmerge of what was not merged"
    adapted = state(model)
    with works_or_refuses(model) as refusals:
        merge(model)
    if not refusals:
        with works_or_refuses(model) as refusals:
            merge(model)
        assert refusals, "merged twice"
        unmerge(model)
        assert state(model) == adapted
        merge(model)
    detach(model)
    assert state(model) == before


@settings(FEW, max_examples=80)
@given(models(tuple(kind for kind in ORDINARY if kind != "large")), configs(WIDE))
def test_the_same_outputs(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise a merged model would compute something else."""
    model.double().eval()
    with works_or_refuses(model) as refusals:  # in float64: a narrower adapter rounds on the way, and merging does not
        attach(model, replace(config, dtype="float64"))
    if refusals:
        return
    move(model)
    x = torch.randn(8, 8, dtype=torch.float64)
    want = model(x)
    with works_or_refuses(model) as refusals:
        merge(model)
    if not refusals:
        for got, each in zip(model(x), want):
            torch.testing.assert_close(got, each, rtol=0, atol=1e-9 * max(1.0, float(each.detach().abs().max())))


def shared_bias(model: nn.Sequential) -> None:
    """One bias, two layers."""
    model[1].bias = model[0].bias


def same_memory(model: nn.Sequential) -> None:
    """Two parameters, one memory."""
    model[1].weight = nn.Parameter(model[0].weight.detach())


def part_of_a_buffer(model: nn.Sequential) -> None:
    """The weight is also kept as a part of a buffer."""
    whole = torch.randn(8, 4)
    model[0].weight = nn.Parameter(whole[2:6])
    model.register_buffer("whole", whole)


def expanded_bias(model: nn.Sequential) -> None:
    """One number for all outputs."""
    model[1].bias = nn.Parameter(torch.zeros(1).expand(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shared_bias, "a bias that is tied to 1"),
        (same_memory, "a weight that is tied to 1"),
        (part_of_a_buffer, "a weight that is tied to"),
        (expanded_bias, "a bias whose entries share memory"),
    ],
)
def test_shared_memory(change: object, message: str) -> None:
    """Otherwise merging one layer would change another, or the same one twice."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    change(model)  # type: ignore[operator]
    attach(model, small_config("road"))
    move(model)
    with refused(model, message):
        merge(model)
    assert not attachments(model)["road"].merged


def test_layers_that_are_not_plain() -> None:
    """Otherwise the message would be one of torch's, or the weights of 8 bits be merged into rubbish."""
    eight = nn.Linear(6, 10)
    eight.weight = nn.Parameter(eight.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    for layer in (Quantised(6, 10), eight):
        model = nn.Sequential(layer)
        attach(model, small_config("lora"))
        with refused(model, "want a plain floating-point weight"):
            merge(model)
