"""A quantised weight as numbers, some rows at a time: which they are, and how many are ever there at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, NEED_DATA, move, small_config
from tests.runtime.repacking import FOUR_BITS, KINDS, cpu, evaluated, numbers, quantised
from variants import AdapterError, Targets, attach
from variants.runtime.layers import numbers as reading
from variants.runtime.layers.numbers import back_through, is_misread, is_quantised, numbers_of, row_pieces, through
from variants.runtime.layers.packing import codes_of

FIRST = Targets(include=("0",))
NESTED = [(kind, nested) for kind in KINDS for nested in (False, True) if kind in FOUR_BITS or not nested]
WHOLE = ("pissa", "antipasto", "antipasto_rot", "antipasto_ablate", "antipasto_corda", "antipasto_arrow")
"""They decompose the weight, and need all of it for that; but only when they are attached."""


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("piece", [1, 1000, 2**20])
@pytest.mark.parametrize(("kind", "nested"), NESTED)
def test_the_numbers(kind: str, nested: bool, piece: int, called: bool) -> None:
    """Pieces would take the scales of other blocks, or a repacked layer be read in the wrong order."""
    layer = quantised(128, 64, kind, nested=nested)
    layer = evaluated(layer) if called else layer
    with patch.object(reading, "PIECE", piece):
        assert torch.equal(numbers_of(layer), numbers(layer))


@pytest.mark.parametrize(("d_in", "d_out"), [(40, 24), (96, 10), (32, 64), (200, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_end_within_a_block(kind: str, d_in: int, d_out: int) -> None:
    """A piece would begin in the middle of a block of scales, or of a byte."""
    layer = quantised(d_in, d_out, kind)
    with patch.object(reading, "PIECE", 1):
        pieces = list(row_pieces(layer))
    assert [rows.stop for rows, _ in pieces][-1] == d_out
    W = torch.cat([W for _, W in pieces])
    assert torch.equal(W, in_order(layer) if kind != "int8" else numbers(layer))
    assert is_misread(layer) == (not torch.equal(W, numbers(layer)))
    assert len(pieces) > 1 or math.lcm(d_in, 64) >= d_in * d_out


def in_order(layer: Any) -> Tensor:
    """Codes times scales, one after the other."""
    found = codes_of(layer)
    assert found is not None
    table = layer.weight.quant_state.code.tolist()
    values = [table[code] for byte in found.codes.tolist() for code in (byte >> 4, byte & 15)]
    scales = found.scales.tolist()
    flat = torch.tensor([scales[i // found.block] for i in range(len(values))]) * torch.tensor(values)
    return flat[: math.prod(found.shape)].view(found.shape)


@pytest.mark.parametrize("kind", FOUR_BITS)
def test_a_layer_that_is_wrong_already_is_refused(kind: str) -> None:
    """An adapter would be trained beside numbers from beyond the end of the scales, others in each process."""
    layer = quantised(96, 64, kind)
    if not is_misread(layer):
        pytest.skip("bitsandbytes reads such rows right on this CPU")
    with pytest.raises(AdapterError, match="attach to 0: got a 4-bit weight with rows of 96 numbers"):
        attach(nn.Sequential(layer), small_config("lora", FIRST))


@pytest.mark.parametrize("kind", KINDS)
def test_products_and_their_gradients(kind: str) -> None:
    """HRA and DoRA would train on the gradient of another product."""
    layer, generator = quantised(128, 64, kind), torch.Generator().manual_seed(0)
    W = numbers(layer).double()
    with patch.object(reading, "PIECE", 2000):
        for product, M, n in ((through, W.T, 128), (back_through, W, 64)):
            x = torch.randn(3, n, dtype=torch.float64, generator=generator, requires_grad=True)
            assert torch.allclose(product(x, layer), x @ M)
            assert torch.autograd.gradcheck(lambda t, f=product: f(t, layer), x)  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dense_weight_in_a_quantised_layer(kind: str) -> None:
    """The scales that the layer still has would be taken for the dense weight's."""
    layer = quantised(128, 64, kind)
    assert is_quantised(layer)
    layer.weight = nn.Parameter(numbers(layer).float(), requires_grad=False)
    assert not is_quantised(layer)
    assert numbers_of(layer) is layer.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_no_more_than_a_piece_at_a_time(name: str, dtype: torch.dtype) -> None:
    """A large model that fits in four bits would need the memory of a dense one, if only for a moment."""
    torch.manual_seed(0)
    model = nn.Sequential(quantised(256, 128, "nf4", compute_dtype=dtype))
    seen: list[int] = []
    real = reading._dequantised

    def watched(codes: Tensor, absmax: Tensor, state: Any, shape: tuple[int, int]) -> Tensor:
        seen.append(math.prod(shape))
        return real(codes, absmax, state, shape)

    with patch.object(reading, "PIECE", 4096), patch.object(reading, "_dequantised", watched):
        data = [torch.randn(64, 256)] if name in NEED_DATA else None
        attach(model, small_config(name, FIRST), calibration=data)
        move(model)
        x = torch.randn(4, 256, dtype=dtype, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: _not_a_weight(t), lambda t: t):
            y = model.train()(x)
        y.float().square().mean().backward()
    assert max(seen, default=0) <= 4096
    if name in ("dora", "delora", *WHOLE) or (name, dtype) == ("hra", torch.bfloat16):
        assert len(seen) >= 8  # which would else prove nothing


def _not_a_weight(t: Tensor) -> Tensor:
    assert t.numel() < 256 * 128 or not t.is_floating_point(), "a dense weight is kept for the backward"
    return t
