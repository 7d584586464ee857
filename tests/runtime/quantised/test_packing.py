"""Quantised layers of bitsandbytes stay as they are, or stand for the same numbers, whatever happens to a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu, _convert_weight_packed_for_cpu_inverse
from torch import Tensor, nn

from tests.runtime.models import refused, small_config
from tests.runtime.repacking import FOUR_BITS, KINDS, _multiply, cpu, evaluated, kept, numbers, quantised, stack
from variants import AdapterError, AntiPaSTOCorDAConfig, Targets, attach, detach
from variants.runtime.layers import run
from variants.runtime.layers.packing import Codes, _rows_first, _rows_together, codes_of, is_repacked

ALL = Targets(include=("0", "2"))


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def batches() -> list[Tensor]:
    """What to calibrate with."""
    return [torch.randn(16, 128, generator=torch.Generator().manual_seed(3)) for _ in range(2)]


@pytest.mark.parametrize("kind", FOUR_BITS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_first_evaluation_repacks(kind: str, nested: bool) -> None:
    """The tests below would look at layers that nothing happens to."""
    layer = quantised(128, 64, kind, nested=nested)
    before = numbers(layer)
    assert not is_repacked(layer)
    evaluated(layer)
    assert is_repacked(layer)
    after = numbers(layer)
    assert not torch.equal(after, before)
    assert torch.allclose(after, before, rtol=2**-8, atol=0)


def test_without_repacking_nothing_happens() -> None:
    """The stand-in would decide nothing: this CPU itself would."""
    with cpu(repacks=False):
        assert not is_repacked(evaluated(quantised(128, 64, "nf4")))


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_the_kernel_multiplies_with_the_repacked_weight(kind: str) -> None:
    """The stand-in for the kernel, or the kernel, would multiply with other numbers than those the tests read."""
    layer: Any = evaluated(quantised(128, 64, kind, bias=False)).eval()
    x, state = torch.randn(5, 128), layer.weight.quant_state
    want = x @ numbers(layer).T
    mine = _multiply(x, layer.weight.data, [64, 128], state.absmax, state.code, 64)
    for got in (layer(x), mine):
        assert torch.allclose(got, want, atol=2**-7 * float(want.abs().max()))


@pytest.mark.parametrize(("d_out", "d_in"), [(32, 64), (64, 128), (96, 2)])
def test_the_packings_are_bitsandbytes_own(d_out: int, d_in: int) -> None:
    """Codes would be read in an order that bitsandbytes does not have."""
    plain = torch.randint(0, 256, (d_out * d_in // 2,), dtype=torch.uint8)
    state: Any = type("State", (), {})()
    state.dtype, state.nested, state.shape, state.blocksize = torch.float32, False, (d_out, d_in), 2
    state.absmax = torch.rand(d_out * d_in // 2)
    packed, _ = _convert_weight_packed_for_cpu(plain, state)
    assert torch.equal(_rows_together(plain, d_out, d_in), packed)
    assert torch.equal(_rows_first(packed, d_out, d_in), plain)
    assert torch.equal(_convert_weight_packed_for_cpu_inverse(packed, state)[0], plain)


def _numbers_of(found: Codes, code: Tensor) -> Tensor:
    indices = torch.stack((found.codes >> 4, found.codes & 15), dim=-1).reshape(-1).long()
    return (code[indices].view(-1, found.block) * found.scales[:, None]).view(found.shape)


@pytest.mark.parametrize("kind", FOUR_BITS)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16])
def test_codes_and_scales_are_the_weight(kind: str, nested: bool, called: bool, storage: torch.dtype) -> None:
    """A fingerprint, or a layer that is put back into the plain packing, would be of other numbers."""
    layer: Any = quantised(128, 64, kind, nested=nested, quant_storage=storage)
    layer = evaluated(layer) if called else layer
    found = codes_of(layer)
    assert found is not None
    assert torch.equal(_numbers_of(found, layer.weight.quant_state.code), numbers(layer))


@pytest.mark.parametrize("called", [False, True])
def test_codes_and_scales_of_eight_bits(called: bool) -> None:
    """The scales, which the first call moves, would be found before it or after it only."""
    layer = quantised(128, 64, "int8")
    layer = evaluated(layer) if called else layer
    found = codes_of(layer)
    assert found is not None
    W = found.codes.view(found.shape) * (found.scales / 127)[:, None]
    assert torch.allclose(W, numbers(layer), rtol=1e-6)


def test_other_layers_have_no_codes() -> None:
    """A plain layer would be taken for a quantised one."""
    assert codes_of(nn.Linear(6, 10)) is None


def _calibration_leaves_alone(model: nn.Module) -> None:
    before = kept(model)
    attach(model, small_config("eva", ALL), calibration=batches())
    detach(model)
    assert kept(model) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("called", [False, True])
def test_calibration_leaves_layers_as_they_are(kind: str, bias: bool, nested: bool, called: bool) -> None:
    """The user's base would change under attach: codes, scales, shape, packing, compute dtype, bias."""
    model = stack(kind, bias=bias, nested=nested)
    _calibration_leaves_alone(evaluated(model) if called else model)


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_settles_no_dtype(kind: str) -> None:
    """The first batch would decide in which dtype the layers compute from then on, and cast their bias."""
    model = stack(kind, **({} if kind == "int8" else {"compute_dtype": None})).eval()
    before = kept(model)
    attach(model, small_config("eva", ALL), calibration=[each.bfloat16() for each in batches()])
    detach(model)
    assert kept(model) == before


def test_calibration_that_fails_leaves_layers_as_they_are() -> None:
    """A bad second batch would leave the layers that the first one repacked."""
    model = stack("nf4")
    before = kept(model)
    with pytest.raises(AdapterError, match="calibration batch 1"):
        attach(model, small_config("eva", ALL), calibration=[batches()[0], torch.randn(2, 3)])
    assert kept(model) == before


@pytest.mark.parametrize("kind", KINDS)
def test_seen_where_calibration_changes_layers(kind: str) -> None:
    """The test above would pass where calibration calls the model as anybody does."""
    with patch.object(run, "left_as_they_are", lambda model: nullcontext()), pytest.raises(AssertionError):
        _calibration_leaves_alone(stack(kind))


def test_a_refused_layer_was_not_called() -> None:
    """antipasto_corda would run the whole calibration, and repack the layer, before it refuses its rank."""
    model = stack("nf4")
    before, calls = kept(model), []  # type: tuple[dict[str, Any], list[object]]
    model.register_forward_pre_hook(lambda *args: calls.append(args))
    with pytest.raises(AdapterError, match="want r of at most 64"):
        attach(model, AntiPaSTOCorDAConfig(r=65, targets=ALL), calibration=batches())
    assert (kept(model), calls) == (before, [])


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_misordered_scales_are_refused(kind: str) -> None:
    """An adapter would be trained beside a weight that nobody has made, and fit no base there is."""
    model = evaluated(nn.Sequential(quantised(128, 64, kind)))
    want = numbers(model[0])
    model.state_dict()
    assert not is_repacked(model[0])
    with refused(model, "attach to 0: got a 4-bit weight whose scales lie in the order.*Load the base anew"):
        attach(model, small_config("lora", Targets(include=("0",))))
    state: Any = model[0].weight.quant_state
    state.absmax = state.absmax.T.reshape(-1).float()  # as the message says
    assert torch.equal(numbers(model[0]), want)
    attach(model, small_config("lora", Targets(include=("0",))))


@pytest.mark.parametrize("nested", [False, True])
def test_codes_that_look_like_nan(nested: bool) -> None:
    """Codes kept in bfloat16 would be taken for numbers, and a sound base be refused for its NaN."""
    layer: Any = quantised(128, 64, "nf4", nested=nested, quant_storage=torch.bfloat16)
    layer.weight.data.view(-1)[5] = torch.nan
    before = kept(layer)
    attach(layer, small_config("lora"))
    detach(layer)
    assert kept(layer) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("called", [False, True])
def test_scales_that_are_nan(kind: str, called: bool) -> None:
    """Every output would be NaN, and the codes say nothing of it."""
    model = nn.Sequential(quantised(128, 64, kind))
    model = evaluated(model) if called else model
    layer: Any = model[0]
    scales = layer.weight.quant_state.absmax if kind != "int8" else layer.state.SCB if called else layer.weight.SCB
    scales.view(-1)[3] = torch.inf
    with pytest.raises(AdapterError, match="attach to 0: got NaN or infinity"):
        attach(model, small_config("lora", Targets(include=("0",))))
