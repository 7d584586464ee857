"""Linear layers as bitsandbytes keeps them, in 4 or in 8 bits, and the weight that they then stand for.

On a CPU with AVX512-BF16, bitsandbytes rewrites a 4-bit layer in place at its first evaluation: other order of the
codes, scales rounded to bfloat16. Here a layer is rewritten only where a probe asks for it (``AVX512``), and then on
every CPU, so that no finding depends on the machine.

The library is imported when the first such layer is made: it takes over a second.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

FOUR_BITS = ("nf4", "fp4")
EIGHT_BITS = "int8"
KINDS = (*FOUR_BITS, EIGHT_BITS)
AVX512 = "-avx512"
"""Suffix of a kind in four bits: the layer is one that bitsandbytes rewrites at its first evaluation, as on a CPU with
AVX512-BF16."""
CALLED = f"{AVX512}-called"
"""Suffix: as ``AVX512``, and the layer has been evaluated once."""


def packed(layer: nn.Linear, kind: str) -> nn.Linear:
    """A quantised copy of ``layer`` on the CPU that computes in its dtype.

    ``kind`` is one of ``KINDS``, in four bits perhaps with the suffix ``AVX512`` or ``CALLED``.
    """
    bnb = _library()
    name, called = plain_kind(kind), kind.endswith(CALLED)
    d_in, d_out, bias = layer.in_features, layer.out_features, layer.bias is not None
    if name == EIGHT_BITS:
        made = bnb.nn.Linear8bitLt(d_in, d_out, bias, has_fp16_weights=False)
    else:
        made = bnb.nn.Linear4bit(d_in, d_out, bias, compute_dtype=layer.weight.dtype, quant_type=name)
        made.support_avx512bf16_for_cpu = AVX512 in kind
    made.load_state_dict(layer.state_dict())
    quantised: nn.Linear = made.to("cpu").train(layer.training)  # this is when the weight is quantised
    if quantised.weight.is_floating_point():
        raise RuntimeError(f"bitsandbytes left a {quantised.weight.dtype} weight where it should have quantised")
    if called:
        with torch.no_grad(), rewritten():
            quantised.eval()(torch.zeros(1, d_in, dtype=layer.weight.dtype))
        quantised.train(layer.training)
        if not is_rewritten(quantised):
            raise RuntimeError("bitsandbytes did not rewrite a 4-bit layer at its first evaluation, as it should here")
    return quantised


def plain_kind(kind: str) -> str:
    """The kind without its suffix."""
    return kind.removesuffix(CALLED).removesuffix(AVX512)


@contextmanager
def rewritten() -> Iterator[None]:
    """Inside, a rewritten layer computes in plain torch on every CPU: the library's kernel needs AVX512-BF16."""
    functional = _any(import_module("bitsandbytes.functional"))
    real = functional.gemv_4bit

    def product(A: Tensor, B: Tensor, *more: Any, state: Any = None, **named: Any) -> Tensor:
        if not getattr(state, "packing_format_for_cpu", False):
            result: Tensor = real(A, B, *more, state=state, **named)
            return result
        with torch.no_grad():  # the kernel is none that gradients pass through
            weight = _numbers(*_one_packing(B, state), state, torch.float32).to(torch.bfloat16)
            return (A.to(torch.bfloat16) @ weight.T).to(A.dtype)

    functional.gemv_4bit = product
    try:
        yield
    finally:
        functional.gemv_4bit = real


def is_rewritten(layer: nn.Module) -> bool:
    """Whether bitsandbytes has rewritten this 4-bit layer for AVX512-BF16."""
    return bool(getattr(getattr(_any(layer).weight, "quant_state", None), "packing_format_for_cpu", False))


def dequantised(layer: nn.Linear) -> Tensor:
    """The numbers that the codes of a layer from ``packed`` stand for: ``(d_out, d_in)``, in float64.

    A weight that somebody has unpacked stands for itself.
    """
    bnb, weight = _library(), _any(layer.weight)
    if weight.is_floating_point():
        return layer.weight.detach().double()
    if type(weight).__name__ == "Params4bit":
        state = weight.quant_state
        if is_rewritten(layer):
            return _numbers(*_one_packing(weight.data, state), state, state.original_dtype).double()
        numbers: Tensor = bnb.functional.dequantize_4bit(weight.data, state)
    else:
        scales = (
            _any(layer).state.SCB if weight.SCB is None else weight.SCB
        )  # the first call takes them from the weight
        numbers = bnb.functional.int8_vectorwise_dequant(weight.data, scales)
    return numbers.double()


def bits(layer: nn.Module) -> dict[str, Tensor]:
    """Copies of every tensor that the layer keeps: codes and scales in one packing, bias.

    Not through ``state_dict``, which rewrites a called layer, and to other scales.
    """
    weight = _any(layer).weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        return {name: t.detach().clone() for name, t in layer.state_dict().items() if isinstance(t, Tensor)}
    codes, scales = _one_packing(weight.data, state)
    return {"weight": codes, "scales": scales, **{n: p.detach().clone() for n, p in plain_parameters(layer)}}


def plain_parameters(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters other than the codes."""
    return ((name, p) for name, p in layer.named_parameters() if name != "weight")


def change_one_scale(layer: nn.Linear) -> None:
    """Make the first block's (in 8 bits: row's) scale half as large again; the codes stay."""
    weight = _any(layer.weight)
    state = getattr(weight, "quant_state", None)
    if state is None:
        scales = _any(layer).state.SCB if weight.SCB is None else weight.SCB
        scales[0] *= 1.5
        return
    _, scales = _one_packing(weight.data, state)
    scales[0] *= 1.5
    state.absmax, state.nested, state.offset, state.state2 = scales, False, None, None


def _one_packing(data: Tensor, state: Any) -> tuple[Tensor, Tensor]:
    """Codes as they are before a call, and one float32 scale per block; the layer stays as it is."""
    functional = import_module("bitsandbytes.functional")
    if getattr(state, "packing_format_for_cpu", False):
        scales = state.absmax.T.reshape(-1).float().clone()
        codes, _ = functional._convert_weight_packed_for_cpu_inverse(data.clone(), copy.copy(state))
        return codes, scales
    if state.nested:
        scales = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        return data.clone(), scales.float()
    return data.clone(), state.absmax.float().clone()


def _numbers(codes: Tensor, scales: Tensor, state: Any, dtype: torch.dtype) -> Tensor:
    """Codes times scales, in ``dtype``."""
    functional = import_module("bitsandbytes.functional")
    plain = functional.QuantState(
        absmax=scales,
        shape=state.shape,
        code=state.code,
        blocksize=state.blocksize,
        quant_type=state.quant_type,
        dtype=dtype,
    )
    numbers: Tensor = functional.dequantize_4bit(codes.view(torch.uint8), plain)
    return numbers


def _library() -> Any:
    return import_module("bitsandbytes")


def _any(thing: object) -> Any:
    """A layer or a weight of the library, of which no types are known."""
    return thing


@contextmanager
def quietly() -> Iterator[None]:
    """bitsandbytes and peft say in which dtype they compute; that is no news here."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def offers(objects: tuple[str, ...]) -> bool:
    """Whether peft has a quantised layer of its own for the method that lives in these objects' folder."""
    folder = objects[0].partition("::")[0].rpartition("/")[0].replace("/", ".")
    return find_spec(f"{folder}.bnb") is not None
