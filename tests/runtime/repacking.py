"""CPUs with AVX512-BF16 and CPUs without, as bitsandbytes sees them, on any CPU; and quantised layers to try there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import bitsandbytes
import torch
from bitsandbytes.nn import modules
from torch import Tensor, nn

KERNEL = "bitsandbytes::gemv_4bit"
FOUR_BITS = ("nf4", "fp4")
KINDS = (*FOUR_BITS, "int8")


@contextmanager
def cpu(*, repacks: bool) -> Iterator[None]:
    """Layers that are made here are repacked by their first evaluation, or never are, whatever this CPU is.

    The kernel that multiplies with a repacked weight is bitsandbytes' own where there is one, else plain torch.
    """
    library: Any = None
    if repacks and not torch._C._dispatch_has_kernel_for_dispatch_key(KERNEL, "CPU"):
        library = torch.library.Library("bitsandbytes", "IMPL")
        library.impl("gemv_4bit", _multiply, "CPU")
    try:
        with patch.object(modules, "has_avx512bf16", lambda: repacks):
            yield
    finally:
        if library is not None:
            library._destroy()


def _multiply(A: Tensor, B: Tensor, shapeB: list[int], absmax: Tensor, code: Tensor, blocksize: int) -> Tensor:
    """A W^T, in bfloat16, for ``A: (..., d_in)`` and the repacked codes and scales of ``W: (d_out, d_in)``.

    Without a gradient, as bitsandbytes' kernel has none.
    """
    W = repacked_numbers(B, (shapeB[0], shapeB[1]), absmax, code, blocksize)
    rows = A.detach().to(torch.bfloat16).float() @ W.T
    return rows.to(torch.bfloat16).to(A.dtype)


def repacked_numbers(B: Tensor, shape: tuple[int, int], absmax: Tensor, code: Tensor, blocksize: int) -> Tensor:
    """The weight of repacked codes and scales, read one number at a time: slow, and sure of the order."""
    d_out, d_in = shape
    flat, values = B.reshape(-1).tolist(), code.tolist()
    W = [[0.0] * d_in for _ in range(d_out)]
    for start in range(0, len(flat), 32):
        block, pair = divmod(start // 32, d_in // 2)
        for number in range(64):
            byte = flat[start + number % 32]
            W[32 * block + number // 2][2 * pair + number % 2] = values[byte >> 4 if number >= 32 else byte & 15]
    return torch.tensor(W) * absmax.float().T.repeat_interleave(blocksize, dim=1)


def quantised(
    d_in: int, d_out: int, kind: str, *, bias: bool = True, nested: bool = False, scale: float = 1.0, **options: Any
) -> nn.Module:
    """A quantised layer of bitsandbytes on the CPU, in training mode; the same weight every time, times ``scale``."""
    generator = torch.Generator().manual_seed(0)
    layer: Any
    if kind == "int8":
        layer = bitsandbytes.nn.Linear8bitLt(d_in, d_out, bias, has_fp16_weights=False)
    else:
        options = {"compute_dtype": torch.float32, "compress_statistics": nested, **options}
        layer = modules.Linear4bit(d_in, d_out, bias, quant_type=kind, **options)
    plain = nn.Linear(d_in, d_out, bias)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(d_out, d_in, generator=generator) / d_in**0.5 * scale)
        if bias:
            plain.bias.copy_(torch.randn(d_out, generator=generator))
    layer.load_state_dict(plain.state_dict())
    made: nn.Module = layer.to("cpu")  # this is when the weight is quantised
    made.requires_grad_(False)
    return made


def stack(kind: str, **options: Any) -> nn.Sequential:
    """Two quantised layers with a tanh between: of two blocks of scales to the row, and of one."""
    return nn.Sequential(quantised(128, 64, kind, **options), nn.Tanh(), quantised(64, 64, kind, **options))


def evaluated(layer: nn.Module) -> nn.Module:
    """The same layer after one call in eval mode without gradients; its mode is put back."""
    training = {module: module.training for module in layer.modules()}
    layer.eval()
    first = next(m for m in layer.modules() if hasattr(m, "in_features"))
    with torch.no_grad():
        layer(torch.randn(2, first.in_features, generator=torch.Generator().manual_seed(2)))  # type: ignore[call-overload]
    for module, flag in training.items():
        module.training = flag
    return layer


def kept(model: nn.Module) -> dict[str, Any]:
    """Whatever its quantised layers hold, without ``state_dict()``, which would unpack them."""
    found: dict[str, Any] = {}
    for name, layer in model.named_modules():
        weight: Any = layer._parameters.get("weight")
        if weight is None:
            continue
        parts = {"layer": layer, "weight": weight, "quant_state": getattr(weight, "quant_state", None)}
        parts["state2"] = getattr(parts["quant_state"], "state2", None)
        parts["state"] = vars(layer).get("state")
        for part, owner in parts.items():
            for key, value in vars(owner).items() if owner is not None else ():
                if isinstance(value, Tensor | bool | int | float | str | torch.dtype | tuple | None):
                    found[f"{name}.{part}.{key}"] = _as_value(value)
        found |= {f"{name}.{key}": _as_value(p.data) for key, p in layer._parameters.items() if p is not None}
    return found


def _as_value(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
    return value.dtype, tuple(value.shape), flat.tolist()


def numbers(layer: nn.Module) -> Tensor:
    """The weight that a layer computes with: ``(d_out, d_in)``, by bitsandbytes or, where it is repacked, by hand."""
    weight: Any = layer.weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        scales = weight.SCB if weight.SCB is not None else layer.state.SCB  # type: ignore[union-attr]
        plain: Tensor = bitsandbytes.functional.int8_vectorwise_dequant(weight.data, scales)
        return plain
    if getattr(state, "packing_format_for_cpu", False):
        return repacked_numbers(weight.data, tuple(state.shape), state.absmax, state.code, state.blocksize)
    found: Tensor = bitsandbytes.functional.dequantize_4bit(weight.data, state)
    return found
