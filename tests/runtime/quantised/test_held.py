"""No quantised layer of a model with adapters is repacked, and each is what it was when the last adapter is off."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from tests.runtime.models import Mlp, small_config
from tests.runtime.repacking import KINDS, cpu, evaluated, kept, numbers, quantised, stack
from variants import Targets, attach, detach
from variants.runtime.layers.packing import hold, is_repacked, release

ALL = Targets(include=("0", "2"))


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("called", [False, True])
def test_detach_puts_everything_back(kind: str, nested: bool, called: bool) -> None:
    """A layer would come back in another packing, with other scales, or barred from repacking for good."""
    model = stack(kind, nested=nested)
    model = evaluated(model) if called else model
    before = kept(model)
    attach(model, small_config("lora", ALL), name="one" if called else None)
    assert not any(is_repacked(model[n]) for n in (0, 2))
    detach(model)
    assert kept(model) == before


def test_the_last_of_two_puts_back() -> None:
    """Taking one adapter off would expose the other to repacked layers, or the last leave them plain."""
    model = evaluated(stack("nf4"))
    before = kept(model)
    attach(model, small_config("lora", Targets(include=("0",))), name="one")
    attach(model, small_config("lora", Targets(include=("2",))), name="two")
    detach(model, "one")
    assert not is_repacked(evaluated(model).get_submodule("0"))
    detach(model, "two")
    assert kept(model) == before


def test_models_within_a_model() -> None:
    """Detaching from the inner model would release layers on which the outer one's gradients depend."""
    inner = evaluated(stack("nf4"))
    outer = nn.Sequential(inner, evaluated(quantised(64, 32, "nf4")))
    before = kept(outer)
    attach(outer, small_config("lora", Targets(include=("1",))))
    attach(inner, small_config("lora", Targets(include=("0",))), name="inner")
    detach(inner)
    assert not is_repacked(evaluated(outer).get_submodule("0.0"))
    detach(outer)
    assert kept(outer) == before


def test_a_failed_attach_puts_back() -> None:
    """The model would be left in another packing by a call that failed."""
    model = evaluated(stack("nf4"))
    before = kept(model)
    with patch.object(torch.nn.Module, "add_module", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        attach(model, small_config("lora", ALL))
    assert kept(model) == before


def test_scales_that_changed_meanwhile_stay() -> None:
    """Detach would put old scales beside codes that were loaded in between."""
    model = nn.Sequential(evaluated(quantised(128, 64, "nf4", bias=False)))
    attach(model, small_config("lora", Targets(include=("0",))))
    weight: Any = model[0].weight
    weight.quant_state.absmax *= 2
    want = numbers(model[0])
    detach(model)
    assert is_repacked(model[0])
    assert torch.equal(numbers(model[0]), want)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_can_be_detached(copied: Any) -> None:
    """A copy of an adapted model would give up the original's layers, or never its own."""
    model = evaluated(stack("nf4", bias=False))
    before = kept(model)
    attach(model, small_config("lora", ALL))
    other = copied(model)
    detach(other)
    assert all(is_repacked(other[n]) and not is_repacked(model[n]) for n in (0, 2))
    detach(model)
    assert kept(model) == before


def test_holding_twice_is_holding_once() -> None:
    """A second adapter of the same model would have to be detached twice."""
    model, held = evaluated(stack("nf4")), []  # type: tuple[nn.Module, list[nn.Module]]
    before = kept(model)
    hold(model, held)
    hold(model, held)
    assert len(held) == 2
    release(held)
    assert (kept(model), held) == (before, [])


def test_plain_models_are_not_touched() -> None:
    """Layers that bitsandbytes never made would get attributes of its layers."""
    model = Mlp()
    before = [sorted(vars(m)) for m in model.modules()]
    held: list[nn.Module] = []
    hold(model, held)
    assert ([sorted(vars(m)) for m in model.modules()], held) == (before, [])
