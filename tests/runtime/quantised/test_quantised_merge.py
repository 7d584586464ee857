"""Adapters merged into codes: the nearest ones, at a stated cost, and back to the old ones bit for bit."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, NEED_DATA, move, small_config
from tests.runtime.repacking import FOUR_BITS, KINDS, cpu, evaluated, kept, numbers, quantised, stack
from variants import AdapterError, Attachment, Targets, attach, attachments, detach, merge, merge_and_detach, unmerge
from variants.runtime.layers.packing import is_repacked
from variants.runtime.layers.requantise import requantised

FIRST = Targets(include=("0",))
NESTED = [(kind, nested) for kind in KINDS for nested in (False, True) if kind in FOUR_BITS or not nested]
COSTS = {"nf4": (0.06, 0.11), "fp4": (0.09, 0.14), "int8": (0.004, 0.01)}
"""Between which shares of |W'| rounding to codes costs, for rows of normal numbers: about a tenth in four bits."""
RATIO = 1.02
"""How much of peft's error on the same W' ours may be: the same quantiser on the same numbers gives the same codes."""


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def adapted(name: str, layer: nn.Module, seed: int = 5) -> tuple[nn.Sequential, Attachment]:
    """A model of this layer with a moved adapter on it."""
    torch.manual_seed(seed)
    model = nn.Sequential(layer)
    data = [torch.randn(16, 128)] if name in NEED_DATA else None
    attachment = attach(model, small_config(name, FIRST), calibration=data)
    move(model)
    return model, attachment


def whole(attachment: Attachment, layer: nn.Module) -> Tensor:
    """W' of the unmerged adapter, in float64."""
    return attachment.layers["0"].fold(layer)[0]


def error(got: Tensor, want: Tensor) -> float:
    """Relative, Frobenius."""
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "nested"), NESTED)
def test_there_and_back(kind: str, nested: bool, name: str) -> None:
    """Merging would lose the base, compute something else than the adapter, or not say what it costs."""
    model, attachment = adapted(name, quantised(128, 64, kind, nested=nested))
    x = torch.randn(3, 128)
    model(x)
    before, y, W = kept(model), model(x), whole(attachment, model[0])
    merge(model)
    assert type(model[0].weight).__name__ == ("Int8Params" if kind == "int8" else "Params4bit")
    off = error(numbers(model[0]), W)
    assert attachment.rounding == {"0": pytest.approx(off, rel=1e-6)}
    assert off < 1.5 * COSTS[kind][1]  # gates make rows and columns of unequal size
    assert error(model(x), y.double()) < 0.5
    unmerge(model)
    assert kept(model) == before
    assert torch.equal(model(x), y)
    assert attachment.rounding == {}


@pytest.mark.parametrize(("kind", "nested"), NESTED)
def test_what_it_costs(kind: str, nested: bool) -> None:
    """The figures that the documentation states would be others."""
    torch.manual_seed(0)
    layer = quantised(512, 256, kind, nested=nested)
    low, high = COSTS[kind]
    _, off = requantised(layer, torch.randn(256, 512, dtype=torch.float64))
    assert low < off < high
    already, off_again = numbers(layer).double(), requantised(layer, numbers(layer).double())[1]
    assert already.norm() > 0
    assert off_again < (0.003 if nested else 1e-6)


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_detached_while_merged(kind: str, called: bool) -> None:
    """The base would keep the update, or another packing."""
    layer = quantised(128, 64, kind)
    layer = evaluated(layer) if called else layer
    before = kept(nn.Sequential(layer))
    model, _ = adapted("dora", layer)
    merge(model)
    model(torch.randn(2, 128))
    detach(model)
    after = kept(model)
    assert {key for key in before if after[key] != before[key]} <= {"0.state.is_training"}  # it was called


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_merged_for_good(kind: str, called: bool) -> None:
    """A trace of the adapter would stay, or a repacked layer come back with the old numbers."""
    layer = quantised(128, 64, kind)
    layer = evaluated(layer) if called else layer
    keys = list(copy.deepcopy(layer).state_dict())
    model, attachment = adapted("hra", layer)
    want = whole(attachment, model[0])
    merge_and_detach(model)
    assert is_repacked(model[0]) == (called and kind != "int8")
    assert error(numbers(model[0]), want) < COSTS[kind][1] + 0.01
    assert list(model[0].state_dict()) == keys


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_merged_model(kind: str, copied: Any) -> None:
    """Unmerging a copy would give it, or the original, the weights of the other."""
    model, _ = adapted("delora", quantised(128, 64, kind))
    before = numbers(model[0]).clone()
    merge(model)
    merged = numbers(model[0]).clone()
    other = copied(model)
    unmerge(other)
    assert torch.equal(numbers(other[0]), before)
    assert torch.equal(numbers(model[0]), merged)
    unmerge(model)
    assert torch.equal(numbers(model[0]), before)


def test_the_report_says_it() -> None:
    """A model would move by a tenth without a word."""
    model = stack("nf4")
    attachment = attach(model, small_config("lora", Targets(include=("0", "2"))))
    move(model)
    assert "quantised anew" not in attachment.report
    merge(model)
    assert "quantised anew: off by " in attachment.report
    unmerge(model)
    assert "quantised anew" not in attachment.report


def test_nothing_happens_where_one_layer_cannot() -> None:
    """Half a model would be merged."""
    model = stack("nf4")
    attachment = attach(model, small_config("lora", Targets(include=("0", "2"))))
    move(model)
    attachment.layers["2"].B.data.fill_(1e300 if attachment.layers["2"].B.dtype is torch.float64 else 3e38)  # type: ignore[operator, union-attr]
    before = kept(model)
    with pytest.raises(AdapterError, match="merge at 2: got merged values"):
        merge(model)
    assert kept(model) == before
    assert not attachment.merged


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_beside_peft(kind: str, use_dora: bool) -> None:
    """Merging here would cost more than peft's merge into the same layer, or unmerging not undo it, as peft's does."""
    ours, _, peft_layer = beside_peft(kind, use_dora)
    attachment = attachments(ours)["dora" if use_dora else "lora"]
    truth, before = whole(attachment, ours[0]), numbers(ours[0]).clone()
    merge(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_layer.merge()
        base = peft_layer.get_base_layer()
        own, their = error(numbers(ours[0]), truth), error(numbers(base), truth)
        peft_layer.unmerge()
    assert own <= RATIO * their
    unmerge(ours)
    assert torch.equal(numbers(ours[0]), before)
    assert not torch.equal(numbers(peft_layer.get_base_layer()), before)  # theirs is undone by arithmetic


TRAINED = [(kind, use_dora) for kind in KINDS for use_dora in (False, True) if kind != "int8" or not use_dora]


@pytest.mark.parametrize(("kind", "use_dora"), TRAINED)
def test_trained_beside_peft(kind: str, use_dora: bool) -> None:
    """Training on the same codes from the same start would end elsewhere."""
    ours, theirs, _ = beside_peft(kind, use_dora)
    mine, want = losses(ours), losses(theirs)
    assert mine[-1] < mine[0]
    assert mine == pytest.approx(want, rel=1e-4)


def test_peft_does_not_train_dora_in_8_bits() -> None:
    """peft trains it now: compare. Today its second call finds no scales, for the first has thrown them away (CPU)."""
    ours, theirs, _ = beside_peft("int8", True)
    mine = losses(ours)
    assert mine[-1] < mine[0]
    with pytest.raises(AttributeError, match="NoneType"):
        losses(theirs)


def losses(model: nn.Module) -> list[float]:
    """Of some steps of SGD on fixed data."""
    generator = torch.Generator().manual_seed(7)
    x, target = torch.randn(16, 128, generator=generator), torch.randn(16, 64, generator=generator)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    model.train()
    found = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        found.append(float(loss.detach()))
    return found


def beside_peft(kind: str, use_dora: bool) -> tuple[nn.Sequential, nn.Module, Any]:
    """Two models on the same codes, with the same moved adapter: ours, and peft's with its layer."""
    from peft import LoraConfig, get_peft_model

    model, attachment = adapted("dora" if use_dora else "lora", quantised(128, 64, kind))
    host: Any = nn.Sequential(quantised(128, 64, kind))
    setattr(host, "is_loaded_in_8bit" if kind == "int8" else "is_loaded_in_4bit", True)
    config: Any = attachment.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_peft_model(
            host, LoraConfig(r=config.r, lora_alpha=config.alpha, use_dora=use_dora, target_modules=["0"])
        )
    layer: Any = theirs.base_model.model[0]
    adapter: Any = attachment.layers["0"]
    with torch.no_grad():
        adapter.A.mul_(0.2)
        adapter.B.mul_(0.2)
        layer.lora_A["default"].weight.copy_(adapter.A)
        layer.lora_B["default"].weight.copy_(adapter.B)
        if use_dora:
            layer.lora_magnitude_vector["default"].weight.copy_(adapter.m)
    return model, theirs, layer


def test_a_layer_that_was_repacked_behind_its_back_is_refused() -> None:
    """Codes would be written in the order of another packing."""
    model, _ = adapted("lora", quantised(128, 64, "nf4"))
    layer: Any = model[0]
    layer.support_avx512bf16_for_cpu = True
    evaluated(model)
    assert is_repacked(layer)
    with pytest.raises(AdapterError, match="merge at 0: got a 4-bit layer that bitsandbytes has repacked"):
        merge(model)
