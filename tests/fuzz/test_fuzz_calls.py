"""Any argument to any function: it works, or raises an ``AdapterError`` and the model is as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.fuzz.worlds import ANYTHING, FEW, ORDINARY, models, state, works_or_refuses
from tests.runtime.models import Mlp, small_config, snapshot
from variants import AdapterError, attach, attachments, config_for, detach, load, merge, save, unmerge

DATA_NAMES = ("eva", "antipasto_corda")
BATCHES = st.one_of(
    ANYTHING,
    st.sampled_from(
        (
            torch.ones(2, 6),
            torch.ones(0, 6),
            torch.ones(6),
            torch.ones(2, 5),
            torch.full((2, 6), torch.nan),
            torch.full((2, 6), torch.inf),
            torch.ones(2, 6, dtype=torch.float64),
            torch.ones(2, 6, dtype=torch.int64),
            torch.ones(2, 6, dtype=torch.complex64),
            torch.ones(2, 6, device="meta"),
            torch.randn(9, 6, generator=torch.Generator().manual_seed(3)),
            {"x": torch.ones(2, 6)},
            {"y": torch.ones(2, 6)},
            {1: torch.ones(2, 6)},
            {"x": torch.ones(2, 6), "attention_mask": torch.ones(3)},
            (torch.ones(2, 6), 5),
            (torch.ones(2, 6),),
        )
    ),
)


@settings(FEW, max_examples=200)
@given(st.sampled_from(DATA_NAMES), st.one_of(ANYTHING, BATCHES, st.lists(BATCHES, max_size=3)), st.booleans())
def test_any_calibration(name: str, calibration: Any, training: bool) -> None:
    """Otherwise a wrong batch would leave hooks, another mode or half an adapter, or be an error without its number."""
    model = Mlp().train(training)
    with works_or_refuses(model) as refusals:
        attach(model, config_for(name, r=1), calibration=calibration)
    if not refusals:
        assert all(t.isfinite().all() for t in attachments(model)[name].tensors().values())
        assert {m.training for m in model.modules()} == {training}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, StopIteration, MemoryError])
@pytest.mark.parametrize("name", DATA_NAMES)
def test_calibration_that_breaks_off(name: str, error: type[BaseException]) -> None:
    """Otherwise an error of the user's own generator would be hidden, or leave hooks on the model."""
    model = Mlp()
    before = snapshot(model)

    class Breaking:
        """One batch, then the error. (A generator function cannot raise StopIteration.)"""

        def __iter__(self) -> Iterator[torch.Tensor]:
            return self

        def __next__(self) -> torch.Tensor:
            if self.__dict__.setdefault("given", False):
                raise error
            self.given = True
            return torch.randn(4, 6)

    if error is StopIteration:  # the regular end
        attach(model, config_for(name, r=1), calibration=Breaking())
        detach(model)
    else:
        with pytest.raises(error):
            attach(model, config_for(name, r=1), calibration=Breaking())
    assert snapshot(model) == before


@settings(FEW, max_examples=120)
@given(ANYTHING, ANYTHING, st.booleans())
def test_any_name(name: Any, other: Any, has_one: bool) -> None:
    """Otherwise a name that cannot be written down would be found out at the save, after the training."""
    model = Mlp()
    if has_one:
        attach(model, small_config("ia3"), name="there")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter"
        with works_or_refuses(model):
            attach(model, small_config("lora"), name=name)
        for call in (
            partial(save, model, path),
            partial(merge, model),
            partial(unmerge, model),
            partial(detach, model),
        ):
            names = list(attachments(model))
            with works_or_refuses(model) as refusals:
                call(name=other)
            assert refusals or other is None or (isinstance(other, str) and other in names)
        for there in list(attachments(model)):
            assert isinstance(there, str)
            with works_or_refuses(model) as refusals:
                save(model, path, there)
            assert not refusals or "UTF-8" in refusals[0].want


@settings(FEW, max_examples=60)
@given(ANYTHING, ANYTHING)
def test_any_model_and_path(thing: Any, path: Any) -> None:
    """Otherwise a wrong first argument, the commonest slip, would end in an AttributeError."""
    config = small_config("lora")
    model = Mlp()
    attach(model, config)
    for call in (
        lambda: attach(thing, config),
        lambda: detach(thing),
        lambda: merge(thing),
        lambda: unmerge(thing),
        lambda: attachments(thing),
        lambda: save(thing, "somewhere"),
        lambda: load(thing, "somewhere"),
    ):
        with pytest.raises(AdapterError):
            call()
    if not isinstance(path, str):  # which may be a good path
        for call in (lambda: save(model, path), lambda: load(model, path)):
            with works_or_refuses(model) as refusals:
                call()
            assert refusals


@settings(FEW, max_examples=150)
@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_file(contents: bytes, with_length: bool, adapted: bool) -> None:
    """Otherwise some file would be read as an adapter, or break the reader."""
    model = Mlp()
    if adapted:
        attach(model, small_config("ia3"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter"
        path.write_bytes(len(contents).to_bytes(8, "little") + contents if with_length else contents)
        with works_or_refuses(model) as refusals:
            load(model, path)
    assert refusals


@settings(FEW, max_examples=100)
@given(models(ORDINARY), st.sampled_from(("lora", "antipasto", "antipasto_rot")), ANYTHING)
def test_any_coefficient(model: nn.Module, name: str, coeff: Any) -> None:
    """Otherwise steering by something that is no number would show in the outputs only."""
    before = state(model)
    with works_or_refuses(model) as refusals:
        attachment = attach(model, small_config(name))
    if refusals:
        return
    with works_or_refuses(model) as refusals:
        attachment.steer(coeff)
    if not refusals:
        assert {adapter.coeff for adapter in attachment.layers.values()} == {float(coeff)}
    detach(model)
    assert state(model) == before
