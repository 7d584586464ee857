"""Write numbers into a quantised layer of bitsandbytes, in its own format, and put back what was there.

    4 bits: the nearest of 16 codes times a new scale per block, the block's largest entry; nested if it was
    int8:   c = round(127 W / scale) with a new scale per row, the row's largest entry

What rounding costs, as |W'' - W'| / |W'|, follows from the format: on normal weights in blocks of 64 about 0.09 in nf4,
0.12 in fp4, 0.007 in int8. A weight that is a dequantised one already is written as it was, to the bit (with nested
scales, almost: these are quantised anew).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from variants.runtime.layers.numbers import numbers_of
from variants.runtime.layers.packing import state_of

INT8 = 127


@dataclass(frozen=True)
class Stored:
    """What a quantised weight's numbers follow from: its codes, and by name what holds its scales. Nothing is copied.

    The names are those of bitsandbytes; a 4-bit layer keeps them in a ``QuantState``, an 8-bit one in its weight until
    it is called, and in its ``state`` from then on. Objects of the layer are no part of it: a copy of a model has its
    own.
    """

    codes: Tensor
    scales: tuple[dict[str, Any], ...]


def stored(layer: nn.Module) -> Stored:
    """What ``put_back`` needs. Writing makes new tensors, so that these stay as they are."""
    found = tuple({name: getattr(holder, name) for name in names} for holder, names in _holders(layer))
    return Stored(_weight(layer).data, found)


def put_back(layer: nn.Module, values: Stored) -> None:
    """Codes and scales bit for bit as they were; where the layer is now."""
    weight = _weight(layer)
    weight.data = values.codes.to(weight.device)
    for (holder, _), named in zip(_holders(layer), values.scales):
        for name, value in named.items():
            setattr(holder, name, _moved(value, weight.device))


def requantised(layer: nn.Module, W: Tensor) -> tuple[Stored, float]:
    """``W: (d_out, d_in)`` as the layer would store it, for ``put_back``; and the error of rounding, |W'' - W| / |W|.

    The layer is as before afterwards.
    """
    before, weight, state = stored(layer), _weight(layer), state_of(layer)
    try:
        if state is None:
            _write_rows(layer, weight, W)
        else:
            _write_blocks(layer, weight, state, W)
        size = float(torch.linalg.matrix_norm(W))
        error = float(torch.linalg.matrix_norm(numbers_of(layer).to(W.dtype) - W))
        return stored(layer), error / size if size else 0.0
    finally:
        put_back(layer, before)


def layer_dtype(layer: nn.Module) -> torch.dtype:
    """What a quantised layer's codes are turned into: the dtype that a merged weight must fit in."""
    state = state_of(layer)
    return torch.float32 if state is None else state.dtype


def _write_rows(layer: nn.Module, weight: Any, W: Tensor) -> None:
    scales = W.abs().amax(dim=1)
    steps = torch.where(scales > 0, INT8 / scales, 0)[:, None]
    codes, scales = (W * steps).round().to(torch.int8), scales.float()
    called: Any = layer.state
    weight.data = codes
    if weight.CB is not None:  # not called yet
        weight.CB, weight.SCB = codes, scales
    if called.SCB is not None:
        called.CB, called.SCB = codes, scales


def _write_blocks(layer: nn.Module, weight: Any, state: Any, W: Tensor) -> None:
    functional: Any = import_module("bitsandbytes.functional")
    codes, new = functional.quantize_4bit(
        W.float().contiguous(),
        blocksize=state.blocksize,
        compress_statistics=state.nested,
        quant_type=state.quant_type,
        quant_storage=weight.dtype,
    )
    weight.data = codes.view(weight.shape)
    for holder, names in _holders(layer):
        for name in names:
            setattr(holder, name, getattr(new, name))


def _holders(layer: nn.Module) -> list[tuple[Any, tuple[str, ...]]]:
    """What holds the scales, and under which names. A copied layer has a ``QuantState`` beside its weight's."""
    state = state_of(layer)
    if state is None:
        return [(_weight(layer), ("CB", "SCB")), (vars(layer)["state"], ("CB", "SCB"))]
    names = ("absmax", "offset", "state2", "nested")
    beside = vars(layer).get("quant_state")
    return [(state, names), *([(beside, names)] if beside is not None and beside is not state else [])]


def _weight(layer: nn.Module) -> Any:
    return layer.weight


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    nested = getattr(value, "absmax", None)  # a QuantState, or the state of nested scales in one
    if isinstance(nested, Tensor) and nested.device != device:
        value.to(device)
    return value
