"""What a process finds itself on, by name: ``python machines/witnesses.py NAME`` prints one line.

Run inside an emulated machine. An audit that gives the same bytes shows nothing where the emulation did not take.
"""

from __future__ import annotations

import ctypes
import locale
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def aten() -> str:
    """The instruction set that torch's own kernels use."""
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def onednn() -> str:
    """The instruction set that oneDNN uses, in its words."""
    code = (
        "import torch\n"
        "with torch.backends.mkldnn.verbose(1):\n"
        "    torch._C._nn.mkldnn_linear(torch.ones(4, 4).to_mkldnn(), torch.ones(4, 4).to_mkldnn())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    found = [line.split("isa:")[1] for line in done.stdout.splitlines() if "isa:" in line]
    return found[0] if found else "no oneDNN"


def mkl() -> str:
    """Whether MKL keeps to one code path: ``off``, ``compatible``, or ``on`` (a path of this CPU's)."""
    import torch

    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return "no MKL"
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    branch = library.mkl_serv_cbwr_get(1)  # MKL_CBWR_BRANCH of mkl_types.h; 1: off, 3: compatible
    return {1: "off", 3: "compatible"}.get(branch, "on")


def openblas() -> str:
    """The core type that NumPy's OpenBLAS takes this CPU for."""
    import numpy

    (file,) = Path(numpy.__file__).parent.with_name("numpy.libs").glob("*openblas*")
    core = ctypes.CDLL(str(file)).scipy_openblas_get_corename64_
    core.restype = ctypes.c_char_p
    return str(core().decode())


def numpy_sets() -> tuple[list[str], list[str]]:
    """NumPy's optional instruction sets: those in use, and those that it was built for."""
    from numpy._core import _multiarray_umath as core  # type: ignore[attr-defined]

    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]], list(core.__cpu_dispatch__)


def numpy_beyond_avx2() -> str:
    """NumPy's instruction sets that need AVX512, as ``NPY_DISABLE_CPU_FEATURES`` takes them."""
    return " ".join(name for name in numpy_sets()[0] if name in ("X86_V4",) or name.startswith("AVX512"))


def numpy_avx512() -> str:
    """Whether NumPy uses AVX512."""
    return "with" if numpy_beyond_avx2() else "without"


def threads() -> str:
    """How many threads torch starts with."""
    import torch

    return str(torch.get_num_threads())


def dtype() -> str:
    """torch's default dtype."""
    import torch

    return str(torch.get_default_dtype())


def matmul() -> str:
    """How exactly torch multiplies float32 matrices."""
    import torch

    return str(torch.get_float32_matmul_precision())


def denormals() -> str:
    """Whether denormal numbers stay."""
    import torch

    tiny = torch.tensor([1e-300], dtype=torch.float64) * torch.tensor([1e-10], dtype=torch.float64)
    return "flushed" if tiny.item() == 0 else "kept"


def repacking() -> str:
    """Whether a 4-bit layer has other codes after a call in evaluation, and whether the call gave x @ W.T then."""
    import bitsandbytes as bnb
    import torch

    right = True
    for kind in ("nf4", "fp4"):
        torch.manual_seed(0)
        layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type=kind)
        layer.load_state_dict({"weight": torch.randn(64, 128)})
        layer = layer.to("cpu").eval()
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
        x = torch.randn(3, 128).bfloat16().float()
        want = x @ weight.T
        right &= bool((layer(x) - want).norm() < 0.02 * want.norm())
    packed = bool(getattr(layer.weight.quant_state, "packing_format_for_cpu", False))
    return f"{'repacked' if packed else 'kept'}, {'right' if right else 'wrong'}"


def country() -> str:
    """Decimal point, encoding of files, UTC offset in January, hash seed."""
    offset = time.strftime("%z", time.localtime(0))
    point = locale.localeconv()["decimal_point"]
    return f"{point} {locale.getpreferredencoding(False)} {offset} {os.environ.get('PYTHONHASHSEED', '')}"


def git() -> str:
    """Whether git is found."""
    return "git" if shutil.which("git") else "no git"


def user() -> str:
    """Who runs this, and whether home can be written to."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    writable = os.access(Path.home(), os.W_OK)
    return f"{'root' if root else 'not root'}, home {'writable' if writable else 'not writable'}"


def folder() -> str:
    """The name of the working directory."""
    return Path.cwd().name


def history() -> str:
    """How many commits git sees."""
    done = subprocess.run(["git", "rev-list", "--count", "HEAD"], capture_output=True, encoding="utf-8", check=True)
    return "one commit" if done.stdout.strip() == "1" else "more commits"


def environment() -> str:
    """System, CPU, Python and the versions of what decides verdicts."""
    from importlib.metadata import PackageNotFoundError, version

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    packages = []
    for name in ("torch", "peft", "transformers", "bitsandbytes", "numpy"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    cpu = f"{model} ({', '.join(sets) or 'no AVX2'}; {os.cpu_count()} cores)"
    return f"{platform.system()} {platform.machine()}, {cpu}; Python {platform.python_version()}, {', '.join(packages)}"


WITNESSES: tuple[Callable[[], Any], ...] = (
    *(aten, onednn, mkl, openblas, numpy_beyond_avx2, numpy_avx512, threads, dtype, matmul, denormals, repacking),
    *(country, git, user, folder, history, environment),
)


def main(name: str) -> int:
    """Print what the witness of this name says."""
    print({witness.__name__: witness for witness in WITNESSES}[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
