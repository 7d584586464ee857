"""Which quantised base an adapter belongs to: the same numbers in any packing, and no others."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, NEED_DATA, Quantised, move, small_config
from tests.runtime.repacking import FOUR_BITS, KINDS, cpu, evaluated, kept, numbers, quantised
from variants import AdapterError, Targets, attach, detach, load, save
from variants.runtime import attach as attaching
from variants.runtime import checkpoint
from variants.runtime.fingerprint import fingerprint
from variants.runtime.layers.packing import codes_of
from variants.runtime.state import weight_of

FIRST = Targets(include=("0",))
NESTED = [(kind, nested) for kind in KINDS for nested in (False, True) if kind in FOUR_BITS or not nested]

Fingerprint = Callable[[nn.Module], str]
Change = Callable[[Any], None]


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def fresh(kind: str, nested: bool = False, **options: Any) -> nn.Module:
    """A layer as it comes from quantising, two blocks of scales to the row."""
    return quantised(128, 64, kind, nested=nested, **options)


def reloaded(layer: nn.Module, kind: str) -> nn.Module:
    """Another layer with the codes and scales that ``state_dict`` gives."""
    state = {key: t.clone() for key, t in layer.state_dict().items()}
    other: Any = fresh(kind, scale=3.0)
    if kind == "int8":
        state.pop("weight_format")
        other.load_state_dict(state)
        return other  # type: ignore[no-any-return]
    parts = {key.removeprefix("weight."): t for key, t in state.items() if key.startswith("weight.")}
    other.weight = type(other.weight).from_prequantized(state["weight"], parts, device="cpu", module=other)
    return other  # type: ignore[no-any-return]


def double_scales(layer: Any) -> None:
    """2 W."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        _scales_of_eight_bits(layer).mul_(2)
    elif state.nested:
        state.state2.absmax *= 2
        state.offset *= 2
    else:
        state.absmax *= 2


def change_one_scale(layer: Any) -> None:
    """The scale of one block (of one row, for 8 bits), by less than a percent."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        _scales_of_eight_bits(layer)[7] *= 1.008
    elif state.nested:
        state.absmax[7] += 1 if state.absmax[7] < 250 else -1
    else:
        state.absmax.view(-1)[7] *= 1.008


def change_the_offset(layer: Any) -> None:
    """What all nested scales are relative to."""
    layer.weight.quant_state.offset += 0.01


def change_one_code(layer: Any) -> None:
    """One byte."""
    layer.weight.data.view(-1).view(torch.uint8)[11] ^= 1


def _scales_of_eight_bits(layer: Any) -> Tensor:
    scales: Tensor = layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB
    return scales


CHANGES = (double_scales, change_one_scale, change_one_code)


def same_numbers_same_fingerprint(fingerprint: Fingerprint, kind: str, nested: bool) -> None:
    """Fresh, copied, called, called and copied, and through a file."""
    layer = fresh(kind, nested)
    want = fingerprint(layer)
    called = evaluated(copy.deepcopy(layer))
    assert fingerprint(copy.deepcopy(layer)) == want
    assert fingerprint(reloaded(layer, kind)) == want
    assert fingerprint(called) == want
    assert fingerprint(copy.deepcopy(called)) == want
    assert fingerprint(evaluated(called)) == want


def other_numbers_other_fingerprint(fingerprint: Fingerprint, kind: str, nested: bool, change: Change) -> None:
    """In a layer that was called and in one that was not."""
    for layer in (fresh(kind, nested), evaluated(fresh(kind, nested))):
        want = fingerprint(layer)
        before = numbers(layer)
        change(layer)
        assert not torch.equal(numbers(layer), before)
        assert fingerprint(layer) != want


@pytest.mark.parametrize(("kind", "nested"), NESTED)
def test_the_same_numbers(kind: str, nested: bool) -> None:
    """An adapter would not load onto the very base it was saved with, because that has been used."""
    same_numbers_same_fingerprint(fingerprint, kind, nested)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "nested"), NESTED)
def test_other_numbers(kind: str, nested: bool, change: Change) -> None:
    """An adapter saved on W would load onto 2 W without a word."""
    other_numbers_other_fingerprint(fingerprint, kind, nested, change)


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_nested_statistics(kind: str) -> None:
    """A base whose scales all moved by the same amount would be taken for the old one."""
    layer = fresh(kind, True)
    want = fingerprint(layer)
    change_the_offset(layer)
    assert fingerprint(layer) != want


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_state_dict_after_a_call(kind: str) -> None:
    """Scales that lie in another order, with numbers that can still be told, would be of another base."""
    layer = fresh(kind)
    want = fingerprint(layer)
    evaluated(layer).state_dict()
    assert fingerprint(layer) == want


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_nested_state_dict_after_a_call_is_another_base(kind: str, tmp_path: Path) -> None:
    """The limit that the documentation states would not be one, or the message not say what to do about it."""
    base = nn.Sequential(fresh(kind, True))
    attach(base, small_config("lora", FIRST))
    save(base, tmp_path / "adapter")
    detach(base)
    before = numbers(base[0])
    evaluated(base).state_dict()
    assert not torch.allclose(numbers(base[0]), before, rtol=2**-9, atol=0)
    with pytest.raises(AdapterError, match="codes are the same and the scales are not: load the base from where"):
        load(base, tmp_path / "adapter")


def test_kind_blocks_and_rows_are_told_apart() -> None:
    """Equal bytes that stand for other numbers would be one base."""
    layers = [fresh("nf4"), fresh("fp4"), quantised(64, 128, "nf4"), fresh("int8")]
    assert len({fingerprint(layer) for layer in layers}) == 4
    other: Any = fresh("nf4")
    want = fingerprint(other)
    other.weight.quant_state.blocksize = 32
    assert fingerprint(other) != want


def test_scales_beside_any_other_weight_of_integers() -> None:
    """2 W of a library that is not known here would be W."""
    layer = Quantised(6, 10)
    layer.register_buffer("scale", torch.ones(10))
    want = fingerprint(layer)
    layer.scale.mul_(2)
    assert fingerprint(layer) != want
    assert fingerprint(Quantised(6, 10)) != want


def saved(base: nn.Module, name: str, path: Path) -> dict[str, Tensor]:
    """Write an adapter that was trained on ``base``, which is then as it was; its tensors."""
    data = [torch.randn(16, 128)] if name in NEED_DATA else None
    attachment = attach(base, small_config(name, FIRST), calibration=data)
    move(base)
    save(base, path)
    tensors = {key: t.detach().clone() for key, t in attachment.tensors().items()}
    detach(base)
    return tensors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "nested"), NESTED)
@pytest.mark.parametrize("calls", [(False, True), (True, False), (True, True)])
def test_saved_and_loaded(kind: str, nested: bool, name: str, calls: tuple[bool, bool], tmp_path: Path) -> None:
    """An adapter would be lost on the next start, where the base was called in between, or was not."""
    first, second = (nn.Sequential(evaluated(fresh(kind, nested)) if c else fresh(kind, nested)) for c in calls)
    before = numbers(second[0])
    tensors = saved(first, name, tmp_path / "adapter")
    loaded = load(second, tmp_path / "adapter").tensors()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    assert torch.equal(numbers(second[0]), before)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "nested"), NESTED)
@pytest.mark.parametrize("called", [False, True])
def test_another_base_is_refused(kind: str, nested: bool, change: Change, called: bool, tmp_path: Path) -> None:
    """An adapter would act beside a base it never saw, and nobody be told which layer that is."""
    saved(nn.Sequential(fresh(kind, nested)), "lora", tmp_path / "adapter")
    other = nn.Sequential(fresh(kind, nested))
    change(other[0])
    other = evaluated(other) if called else other
    before = kept(other)
    scales = change is not change_one_code
    advice = "codes are the same and the scales are not" if scales else "Load it onto the model that the adapter was"
    told = r"codes \w+ scales \w+"
    message = rf"first 0: the same dtype and shape \({kind} 64x128\), other numbers \({told}, in the file {told}\).*"
    with pytest.raises(AdapterError, match=message + advice):
        load(other, tmp_path / "adapter")
    assert kept(other) == before


def test_the_kind_to_load_onto_is_told(tmp_path: Path) -> None:
    """The message would advise to cast to something that no cast gives."""
    saved(nn.Sequential(fresh("nf4")), "lora", tmp_path / "adapter")
    plain = nn.Sequential(nn.Linear(128, 64))
    with pytest.raises(AdapterError, match="Load onto the base in nf4, as it was when the adapter was saved"):
        load(plain, tmp_path / "adapter")


def test_a_file_without_scales_is_told(tmp_path: Path) -> None:
    """A file from before scales were hashed would seem to belong to a base in uint8, which nobody has."""
    base = nn.Sequential(fresh("nf4"))
    with patch.object(attaching, "fingerprint", lambda layer: f"uint8 4096x1 {of_codes(layer)}"):
        saved(base, "lora", tmp_path / "adapter")
    with pytest.raises(AdapterError, match=r"uint8 4096x1 \w{16}. A file from a version that did not look at scales"):
        load(base, tmp_path / "adapter")


def of_storage(layer: nn.Module) -> str:
    """A wrong fingerprint: of whatever bytes the weight has now."""
    weight = weight_of(layer).detach().contiguous().view(-1).view(torch.uint8)
    return f"{weight_of(layer).shape} {hashlib.sha256(weight.numpy().data).hexdigest()}"


def of_codes(layer: nn.Module) -> str:
    """A wrong fingerprint: scales do not count."""
    found = codes_of(layer)
    return "" if found is None else hashlib.sha256(found.codes.numpy().data).hexdigest()


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_seen_where_storage_is_hashed(kind: str, tmp_path: Path) -> None:
    """The tests of the same numbers would pass for a fingerprint of the packing."""
    with pytest.raises(AssertionError):
        same_numbers_same_fingerprint(of_storage, kind, False)
    with (
        patch.object(attaching, "fingerprint", of_storage),
        patch.object(checkpoint, "fingerprint", of_storage),
        pytest.raises(AdapterError, match="the base is another one"),
    ):
        test_saved_and_loaded(kind, False, "lora", (False, True), tmp_path)


@pytest.mark.parametrize("wrong", [of_storage, of_codes])
@pytest.mark.parametrize("change", [double_scales, change_one_scale])
@pytest.mark.parametrize("kind", KINDS)
def test_seen_where_scales_are_not_hashed(kind: str, change: Change, wrong: Fingerprint, tmp_path: Path) -> None:
    """The tests of other numbers would pass for a fingerprint of the codes."""
    with pytest.raises(AssertionError):
        other_numbers_other_fingerprint(wrong, kind, False, change)
    with (
        patch.object(attaching, "fingerprint", wrong),
        patch.object(checkpoint, "fingerprint", wrong),
        pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"),
    ):
        test_another_base_is_refused(kind, False, change, False, tmp_path)
