"""Weights kept as codes and scales by bitsandbytes: their numbers in one packing, and keeping them in it.

A 4-bit weight is two codes a byte, in the order of the rows, and a scale for every block of codes; the scales may be
quantised in turn (nested). On CPUs with AVX512-BF16, ``Linear4bit.forward`` repacks it in place at the first call in
eval mode whose input needs no gradient:

    codes:  (d_out, d_in / 2) bytes; of 32 rows and two columns, rows 0-15 in the low halves, rows 16-31 in the high
    scales: (d_in / blocksize, d_out), rounded to bfloat16

A repacked layer passes no gradient on to its input: without a bias silently, with one by raising. So no layer of a
model with adapters is repacked, and one that is goes back to the plain packing until the last adapter is off.

Nothing here imports bitsandbytes. Source: bitsandbytes 0.50, ``nn/modules.py`` and ``functional.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from variants.runtime.layers.kinds import sizes_of

ROWS = 32
"""How many rows are repacked together."""
HELD = "_packing_before_adapters"
"""The attribute of a layer that is kept from being repacked."""
MAY_REPACK = "support_avx512bf16_for_cpu"
"""The attribute of a ``Linear4bit`` without which it never repacks."""


@dataclass(frozen=True)
class Codes:
    """What the numbers of a quantised weight follow from, the same for every packing of them.

    ``kind``: nf4, fp4 or int8. ``codes``: in the order of the rows, two 4-bit ones a byte (the first in the high half).
    ``scales``: float32, in the order of the blocks of ``block`` codes; for int8, one per row.
    """

    kind: str
    shape: tuple[int, int]
    codes: Tensor
    scales: Tensor
    block: int


def codes_of(layer: nn.Module) -> Codes | None:
    """The codes and scales of a quantised layer of bitsandbytes, on the CPU; None for any other layer."""
    state = state_of(layer)
    shape: Any = sizes_of(layer)[::-1]
    if state is not None:
        codes, absmax = plain_codes(layer)
        return Codes(state.quant_type, shape, codes.cpu(), absmax.cpu(), state.blocksize)
    scales = scales_of_rows(layer)
    if scales is None:
        return None
    weight: Any = layer.weight
    return Codes("int8", shape, weight.detach().cpu().reshape(-1), scales.cpu(), shape[1])


def plain_codes(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Of a 4-bit layer, where it is: two codes a byte in the order of the rows, and a float32 scale per block."""
    state, data = state_of(layer), _weight(layer).detach()
    codes = _rows_first(data, *sizes_of(layer)[::-1]) if is_repacked(layer) else data.reshape(-1).view(torch.uint8)
    return codes, _scales(state)


def scales_of_rows(layer: nn.Module) -> Tensor | None:
    """Of an 8-bit layer, a float32 scale per row; None for any other layer."""
    weight = _weight(layer)
    scales: Tensor | None = getattr(weight, "SCB", None)
    if scales is None:  # the first call takes them from the weight
        scales = getattr(vars(layer).get("state"), "SCB", None)
    if scales is None or weight is None or weight.dtype != torch.int8:
        return None
    return scales.detach().float().reshape(-1)


def is_repacked(layer: nn.Module) -> bool:
    """Whether bitsandbytes has repacked this layer's weight for the CPU."""
    return bool(getattr(state_of(layer), "packing_format_for_cpu", False))


def is_misordered(layer: nn.Module) -> bool:
    """Whether the scales lie in the order of a repacked weight beside codes that do not: another weight.

    ``state_dict()`` of a repacked layer whose scales are not nested leaves it, and the file, so.
    """
    state = state_of(layer)
    return state is not None and not is_repacked(layer) and state.absmax.dim() == 2 and len(state.absmax) > 1


@contextmanager
def left_as_they_are(model: nn.Module) -> Iterator[None]:
    """Calls of ``model`` in this block leave its quantised layers as they were, to the bit and in every attribute.

    A first call else repacks the weight, fixes the compute dtype, casts the bias, and moves 8-bit scales elsewhere.
    """
    before = [_everything(layer) for layer in model.modules() if _is_quantised(layer)]
    for layer, *_ in before:
        if MAY_REPACK in vars(layer):
            setattr(layer, MAY_REPACK, False)
    try:
        yield
    finally:
        for layer, attributes, parameters, parts in before:
            for name, parameter, data in parameters:
                parameter.data = data
                layer._parameters[name] = parameter
            for part, values in parts:
                vars(part).clear()
                vars(part).update(values)
            vars(layer).update(attributes)


@dataclass
class Held:
    """What a layer was before it was kept from being repacked, and by how many models (one may hold another)."""

    might: bool
    state: dict[str, Any] | None
    models: int = 0


def hold(model: nn.Module, held: list[nn.Module]) -> None:
    """Let no layer of ``model`` be repacked; one that is gets the same numbers in the plain packing.

    What is held is added to ``held``, for ``release``. Layers that are in it stay as they are.
    """
    known = {id(layer) for layer in held}
    for layer in model.modules():
        if id(layer) in known or not (HELD in vars(layer) or getattr(layer, MAY_REPACK, False) or _can_unpack(layer)):
            continue
        before = vars(layer).get(HELD)
        if before is None:
            might = bool(getattr(layer, MAY_REPACK, False))
            before = Held(might, _unpack(layer) if _can_unpack(layer) else None)
        setattr(layer, MAY_REPACK, False)
        before.models += 1
        vars(layer)[HELD] = before
        held.append(layer)


def release(held: list[nn.Module]) -> None:
    """Undo ``hold``: packing and attributes as they were, bit for bit; what went to another device stays plain."""
    while held:
        layer = held.pop()
        before: Held = vars(layer)[HELD]
        before.models -= 1
        if before.models:
            continue
        del vars(layer)[HELD]
        setattr(layer, MAY_REPACK, before.might)
        if before.state is not None:
            _repack(layer, before.state)


def state_of(layer: nn.Module) -> Any:
    """bitsandbytes' ``QuantState``, which a layer keeps as well, for when its weight has lost it."""
    for owner in (_weight(layer), layer):
        state = getattr(owner, "quant_state", None)
        if state is not None and hasattr(state, "absmax") and hasattr(state, "quant_type"):
            return state if _is_packed(_weight(layer), state) else None
    return None


def _is_packed(weight: Any, state: Any) -> bool:
    """Not so where somebody has put a dense weight into the layer."""
    return weight is not None and weight.numel() * weight.itemsize == (math.prod(state.shape) + 1) // 2


def _weight(layer: nn.Module) -> Any:
    """The weight as it is stored: a computed one is not computed for this."""
    stored = vars(layer).get("_parameters")
    return stored.get("weight") if isinstance(stored, dict) else None


def _is_quantised(layer: nn.Module) -> bool:
    return state_of(layer) is not None or hasattr(_weight(layer), "CB") or MAY_REPACK in vars(layer)


def _can_unpack(layer: nn.Module) -> bool:
    return is_repacked(layer) and not _weight(layer).is_meta


def _scales(state: Any) -> Tensor:
    absmax: Tensor = state.absmax.detach()
    if not state.nested:
        return (absmax.T if absmax.dim() == 2 else absmax).reshape(-1).float()
    of, block = state.state2, state.state2.blocksize
    scales: Tensor = of.code[absmax.long()].float() * of.absmax.repeat_interleave(block)[: len(absmax)]
    scales += state.offset
    return scales


def _rows_first(packed: Tensor, d_out: int, d_in: int) -> Tensor:
    """The bytes in the order of the rows, of the bytes of a repacked weight."""
    parts = packed.reshape(d_out // ROWS, d_in // 2, 1, ROWS)
    codes = torch.cat((parts & 15, parts >> 4), dim=-2).view(d_out // ROWS, d_in // 2, ROWS, 2)
    first, second = codes.transpose(1, 2).reshape(-1, 2).unbind(-1)
    return first << 4 | second


def _rows_together(plain: Tensor, d_out: int, d_in: int) -> Tensor:
    """The inverse of ``_rows_first``, as ``(d_out, d_in / 2)``."""
    codes = torch.stack((plain >> 4, plain & 15), dim=-1).view(d_out // ROWS, ROWS, d_in // 2, 2)
    low, high = codes.transpose(1, 2).reshape(-1, 2, ROWS).unbind(-2)
    return (high << 4 | low).view(d_out, d_in // 2)


def _unpack(layer: nn.Module) -> dict[str, Any]:
    """Put the weight back into the plain packing, with the scales it has now; what its state was.

    bitsandbytes' own way back quantises nested scales anew, and leaves others in the wrong order.
    """
    weight, state = _weight(layer), state_of(layer)
    before = dict(vars(state))
    codes = _rows_first(weight.detach(), *state.shape).view(state.original_qshape)
    scales = _scales(state).to(state.absmax.device)
    weight.data = codes.view(vars(state).get("original_storage_type", torch.uint8))
    state.absmax, state.dtype = scales, state.original_dtype
    state.offset = state.state2 = None
    state.packing_format_for_cpu = False
    return before


def _repack(layer: nn.Module, before: dict[str, Any]) -> None:
    weight, state = _weight(layer), state_of(layer)
    if state is None or is_repacked(layer) or weight.device.type != "cpu":
        return
    weight.data = _rows_together(weight.detach().reshape(-1).view(torch.uint8), *state.shape)
    absmax = _scales(state).view(state.shape[0], -1).T.to(torch.bfloat16).contiguous()
    vars(state).clear()
    vars(state).update(before, absmax=absmax)


def _everything(layer: nn.Module) -> tuple[nn.Module, dict[str, Any], list[Any], list[Any]]:
    """Attributes of a layer that a call may set, its parameters with their memory, and the parts with values."""
    attributes = {key: value for key, value in vars(layer).items() if not isinstance(value, dict)}
    parameters = [(name, p, p.data) for name, p in layer._parameters.items() if p is not None]
    parts = [vars(layer)["state"]] if hasattr(vars(layer).get("state"), "SCB") else []
    parts += [p for _, p, _ in parameters if vars(p)]
    return layer, attributes, parameters, [(part, dict(vars(part))) for part in parts]
