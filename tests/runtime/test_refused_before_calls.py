"""A refusal that needs no data comes before the model is called, on every CPU, for every variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NEED_DATA, Quantised, refused, small_config
from tests.runtime.repacking import cpu, kept
from variants import VARIANTS, AdapterError, Targets, attach, by_name
from variants.runtime import attach as attaching
from variants.runtime.adapter import Adapter

TARGETS = Targets(include=("first", "last"))
NAMES = tuple(variant.name for variant in VARIANTS)
BLIND = ("lora", "ia3", "ia3_ff", "road", "eva")
REPLACE = tuple(variant.name for variant in VARIANTS if variant.residual is not Adapter.residual)
OPTIONS: dict[str, dict[str, Any]] = {"antipasto_ablate": {"cov_orient": True}}
"""What makes a method look at data, where its defaults do not."""


class Counting(nn.Module):
    """``last(tanh(first(x)))``, which counts its calls; ``last`` is the layer to refuse."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(128, 64), last
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Count."""
        self.calls += 1
        y: Tensor = self.last(torch.tanh(self.first(x)))
        return y


def plain(change: Callable[[nn.Linear], object] = lambda layer: None) -> Counting:
    """With a plain last layer, changed."""
    model = Counting(nn.Linear(64, 64))
    change(model.last)  # type: ignore[arg-type]
    return model


def unknown_codes() -> Counting:
    """With a last layer of integers, for the methods that look at the weight's numbers."""
    return Counting(Quantised(64, 64))


def with_nan() -> Counting:
    """One NaN."""
    return plain(lambda layer: layer.weight.data[3].fill_(torch.nan))


def on_meta() -> Counting:
    """No weight."""
    return plain(lambda layer: layer.to("meta"))


def narrow() -> Counting:
    """Three inputs and outputs only."""
    model = plain()
    model.first, model.last = nn.Linear(128, 3), nn.Linear(3, 3)
    return model


def tied() -> Counting:
    """The last weight is another module's as well."""
    model = plain()
    model.other = nn.Linear(64, 64)
    model.other.weight = model.last.weight
    return model


def cases() -> Iterator[tuple[str, Callable[[], Counting], dict[str, Any], str]]:
    """Every variant with every layer that it refuses."""
    for name in NAMES:
        yield name, with_nan, {}, "attach to last: got NaN"
        yield name, on_meta, {}, "attach to last: got a weight on the meta device"
        if name not in BLIND:
            yield name, unknown_codes, {}, "attach to last: got Quantised with a torch.int8 weight"
        if name in REPLACE:
            yield name, tied, {}, "attach to last: got a weight that is tied to other"
        if name in (*REPLACE, "eva"):
            rank = {"r": 4, "k": 2} if name == "antipasto_ablate" else {"r": 4}
            yield name, narrow, rank, "attach to (first|last): got r=4; want r of at most 3"
    yield "road", narrow, {"group_size": 2}, "attach to first: got group_size=2"
    yield "hra", narrow, {"r": 4, "gram_schmidt": True}, "attach to last: got r=4; want r of at most 3"


def refused_uncalled(name: str, make: Callable[[], Counting], options: dict[str, Any], message: str) -> None:
    """The error is the expected one, and the model was not called."""
    model = make()
    before = kept(model) if make is not on_meta else {}
    config = small_config(name, TARGETS, **OPTIONS.get(name, {}), **options)
    looks = by_name(name).statistic(config, model.first) is not None
    data = [torch.randn(16, 128) for _ in range(2)] if looks else None
    assert looks or name not in NEED_DATA
    with pytest.raises(AdapterError, match=message):
        attach(model, config, calibration=data)
    assert model.calls == 0
    assert make is on_meta or kept(model) == before


@pytest.mark.parametrize(("name", "make", "options", "message"), cases())
@pytest.mark.parametrize("repacks", [False, True])
def test_no_call(name: str, make: Callable[[], Counting], options: dict[str, Any], message: str, repacks: bool) -> None:
    """A whole calibration would run for nothing, and the model be another one when the layer is refused."""
    with cpu(repacks=repacks):
        refused_uncalled(name, make, options, message)


def test_every_variant_refuses_something() -> None:
    """A variant could be left out of the test above."""
    assert {name for name, *_ in cases()} == set(NAMES)
    assert len(NAMES) == 14


@pytest.mark.parametrize("name", sorted({*REPLACE, "eva"} - {"pissa", "antipasto_arrow"}))
def test_seen_where_the_model_is_called_first(name: str) -> None:
    """The test above would pass where layers are checked when they are built, after calibration."""
    with (
        patch.object(Adapter, "refuse", classmethod(lambda *args: None)),
        pytest.raises((AssertionError, AdapterError)),
    ):
        refused_uncalled(name, narrow, {"r": 4, "k": 2} if name == "antipasto_ablate" else {"r": 4}, "at most 3")


@pytest.mark.parametrize("name", [name for name in REPLACE if name not in ("pissa", "antipasto_arrow")])
def test_seen_where_ties_are_found_at_the_end(name: str) -> None:
    """The test above would pass where a tied weight is found when its replacement is to be written."""
    real = attaching.refuse_tied
    calls: list[bool] = []

    def late(model: Any, *args: Any) -> None:
        calls.append(model.calls > 0)
        if model.calls:
            real(model, *args)

    with patch.object(attaching, "refuse_tied", late), pytest.raises(AssertionError, match="calls"):
        refused_uncalled(name, tied, {}, "tied to other")
    assert calls


def test_data_are_still_looked_at() -> None:
    """Nothing at all would be refused after a call: what only the data can show."""
    model = plain()
    with refused(model, "rows"):
        attach(model, small_config("antipasto_corda", TARGETS, r=8), calibration=[torch.randn(2, 128)])
    assert model.calls == 1
