"""bitsandbytes finds no AVX512-BF16, so its 4-bit layers keep their codes as they were saved."""

from types import ModuleType

from after_import import after_import  # type: ignore[import-not-found]


def _without(cextension: ModuleType) -> None:
    cextension.lib.has_avx512bf16_cpu = lambda: 0


after_import("bitsandbytes.cextension", _without)
