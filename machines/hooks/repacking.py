"""bitsandbytes finds AVX512-BF16 and repacks 4-bit layers in evaluation; its kernel is replaced by plain torch.

The native kernel would end the process on a CPU without these instructions. The stand-in takes the same addresses:
x: (M, K) and scales: (K / blocksize, N) in bfloat16, codes: (N, K / 2) in 32-row tiles, and writes x @ W.T: (M, N).
The layout is the one that ``bitsandbytes.functional._convert_weight_packed_for_cpu`` writes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from after_import import after_import  # type: ignore[import-not-found]

if TYPE_CHECKING:
    import torch

TILE = 32


def _tensor(address: ctypes.c_void_p, count: int, dtype: torch.dtype) -> torch.Tensor:
    """The memory at an address, not copied."""
    import torch

    size = count * torch.empty((), dtype=dtype).element_size()
    return torch.frombuffer((ctypes.c_uint8 * size).from_address(address.value or 0), dtype=dtype)


def _codes(packed: torch.Tensor, n: int, k: int) -> torch.Tensor:
    """4-bit codes, (N, K): a tile's byte holds one code of its rows 0..15 below, one of its rows 16..31 above."""
    import torch

    rows = packed.reshape(-1, TILE)
    both = torch.cat([rows & 0xF, rows >> 4], dim=1)
    return both.reshape(n // TILE, k // 2, TILE, 2).transpose(1, 2).reshape(n, k).long()


def _kernel(kind: str) -> Callable[..., None]:
    def gemv(*given: Any) -> None:
        import torch
        from bitsandbytes.functional import get_4bit_type

        x, packed, scales, out = given[3:7]
        m, n, k, blocksize, x_stride, out_stride = (number.value for number in (*given[:3], *given[7:]))
        with torch.no_grad():
            table = get_4bit_type(kind, device="cpu").float()
            scale = _tensor(scales, k // blocksize * n, torch.bfloat16).reshape(k // blocksize, n).T.float()
            codes = _codes(_tensor(packed, n * k // 2, torch.uint8), n, k)
            weight = (table[codes] * scale.repeat_interleave(blocksize, dim=1)).bfloat16()
            inputs = _tensor(x, (m - 1) * x_stride + k, torch.bfloat16).as_strided((m, k), (x_stride, 1))
            results = _tensor(out, (m - 1) * out_stride + n, torch.bfloat16).as_strided((m, n), (out_stride, 1))
            results.copy_(inputs.float() @ weight.float().T)

    return gemv


def _with(cextension: ModuleType) -> None:
    cextension.lib.has_avx512bf16_cpu = lambda: 1
    cextension.lib.gemv_4bit_inference_cpu_nf4_bf16 = _kernel("nf4")
    cextension.lib.gemv_4bit_inference_cpu_fp4_bf16 = _kernel("fp4")


after_import("bitsandbytes.cextension", _with)
