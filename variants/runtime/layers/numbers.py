"""A layer's weight as numbers: of a quantised layer of bitsandbytes, those that its codes stand for.

    W = code[c] * scale of c's block         4 bits: (d_out, d_in), in the dtype that the layer was quantised from
    W = c * scale of c's row / 127           int8, in float32

``numbers_of`` makes all of W. The products here and ``row_pieces`` make some rows at a time (``PIECE`` numbers), in the
backward once more, so that nothing of W's size is held. A layer that bitsandbytes has repacked is read as it is.

bitsandbytes is imported only where there is a layer of its own. Source: bitsandbytes 0.50, ``functional.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from variants.runtime.layers.kinds import sizes_of, weight_of
from variants.runtime.layers.packing import is_repacked, plain_codes, scales_of_rows, state_of
from variants.runtime.numerics.products import thin_product

PIECE = 2**20
"""How many numbers of a quantised weight are there at a time: 4 MB in float32."""


def is_quantised(layer: nn.Module) -> bool:
    """Whether the weight is kept in codes that can be read here, and written (``requantise``)."""
    return state_of(layer) is not None or scales_of_rows(layer) is not None


def numbers_of(layer: nn.Module) -> Tensor:
    """W: ``(d_out, d_in)``; for a plain layer the weight itself, for a quantised one a copy that nothing else holds."""
    if not is_quantised(layer):
        return weight_of(layer)
    return torch.cat([W for _, W in row_pieces(layer)])


def row_pieces(layer: nn.Module) -> Iterator[tuple[slice, Tensor]]:
    """Which rows, and these rows of W; of a plain layer all at once."""
    state, scales = state_of(layer), scales_of_rows(layer)
    if state is None and scales is None:
        W = weight_of(layer).detach()
        yield slice(0, len(W)), W
        return
    d_in, d_out = sizes_of(layer)
    weight: Any = layer.weight
    if state is None:
        assert scales is not None
        functional: Any = import_module("bitsandbytes.functional")
        for rows in _pieces(d_out, max(1, PIECE // d_in)):
            yield rows, functional.int8_vectorwise_dequant(weight.detach()[rows], scales[rows])
        return
    codes, absmax = plain_codes(layer)
    whole = state.blocksize // math.gcd(state.blocksize, d_in)  # so many rows are a number of whole blocks
    for rows in _pieces(d_out, whole * max(1, PIECE // (whole * d_in))):
        first, last = rows.start * d_in, rows.stop * d_in
        part = codes[first // 2 : (last + 1) // 2], absmax[first // state.blocksize : -(-last // state.blocksize)]
        yield rows, _dequantised(*part, state, (rows.stop - rows.start, d_in))


def through(x: Tensor, layer: nn.Module) -> Tensor:
    """``x W^T`` for rows ``x: (..., d_in)``, in the dtype of x; the gradient goes to x."""
    if not is_quantised(layer):
        return thin_product(weight_of(layer), x).t() if x.dim() == 2 else x @ weight_of(layer).to(x.dtype).t()
    y: Tensor = _Through.apply(x, layer)  # type: ignore[no-untyped-call]
    return y


def back_through(u: Tensor, layer: nn.Module) -> Tensor:
    """``u W`` for rows ``u: (..., d_out)``, in the dtype of u; the gradient goes to u."""
    if not is_quantised(layer):
        return u @ weight_of(layer).to(u.dtype)
    x: Tensor = _BackThrough.apply(u, layer)  # type: ignore[no-untyped-call]
    return x


class _Through(torch.autograd.Function):
    """``x W^T``, by rows of W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        return torch.cat([x @ W.to(x.dtype).t() for _, W in row_pieces(layer)], dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return back_through(grad.to(ctx.dtype), ctx.layer), None


class _BackThrough(torch.autograd.Function):
    """``u W``, by rows of W."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer, ctx.dtype = layer, u.dtype
        x = u.new_zeros(*u.shape[:-1], sizes_of(layer)[0])
        for rows, W in row_pieces(layer):
            x = x + u[..., rows] @ W.to(u.dtype)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return through(grad.to(ctx.dtype), ctx.layer), None


def _pieces(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def is_misread(layer: nn.Module) -> bool:
    """Whether bitsandbytes itself multiplies with other numbers than the codes of this 4-bit layer stand for.

    Its kernel for CPUs with AVX512 gives each row blocks of its own: where a row is no whole number of blocks (96
    inputs, say), it takes other scales, and some from beyond their end. Found in bitsandbytes 0.50.
    """
    state = state_of(layer)
    if state is None or is_repacked(layer) or not sizes_of(layer)[0] % state.blocksize or _data(layer).is_meta:
        return False
    functional: Any = import_module("bitsandbytes.functional")
    return not torch.equal(functional.dequantize_4bit(_data(layer), state), numbers_of(layer))


def _data(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight.detach()


def _dequantised(codes: Tensor, absmax: Tensor, state: Any, shape: tuple[int, int]) -> Tensor:
    if shape[1] % state.blocksize:
        return _by_hand(codes, absmax, state, shape)
    functional: Any = import_module("bitsandbytes.functional")
    part = functional.QuantState(
        absmax=absmax,
        shape=shape,
        code=state.code,
        blocksize=state.blocksize,
        quant_type=state.quant_type,
        dtype=_dtype(state),
    )
    W: Tensor = functional.dequantize_4bit(codes.reshape(-1, 1), part)
    return W


def _by_hand(codes: Tensor, absmax: Tensor, state: Any, shape: tuple[int, int]) -> Tensor:
    """Where blocks go on from one row to the next, as ``is_misread`` says why."""
    n = math.prod(shape)
    values = state.code[torch.stack((codes >> 4, codes & 15), dim=-1).reshape(-1)[:n].long()]
    W: Tensor = (values * absmax.repeat_interleave(state.blocksize)[:n]).to(_dtype(state)).view(shape)
    return W


def _dtype(state: Any) -> torch.dtype:
    dtype: torch.dtype = getattr(state, "original_dtype", None) or state.dtype  # a repacked one speaks of its kernel's
    return dtype
