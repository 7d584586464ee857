"""The emulated machines, and the exceptions to "the same bytes on each of them"."""

from __future__ import annotations

from difflib import get_close_matches

from machines import preparations
from machines.machine import Allowed, Machine, together


def _core(name: str, core: str, want: str, cpu: str) -> Machine:
    """NumPy's OpenBLAS on another CPU."""
    return Machine(
        f"openblas-{name}", f"NumPy's OpenBLAS on {cpu}", {"OPENBLAS_CORETYPE": core}, witness="openblas", want=want
    )


def _threads(count: int) -> Machine:
    """All libraries with so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    counts = {**dict.fromkeys(names, str(count)), "MKL_DYNAMIC": "FALSE"}  # else MKL keeps to the number of cores
    title = f"{count} thread{'' if count == 1 else 's'} of OpenMP, MKL and OpenBLAS"
    return Machine(f"threads-{count}", title, counts, witness="threads", want=str(count))


def _dtype(name: str) -> Machine:
    """A caller who has set torch's default dtype."""
    return Machine(
        f"dtype-{name}", f"a default dtype of {name}", hook=f"dtype_{name}", witness="dtype", want=f"torch.{name}"
    )


ELSEWHERE = {"TZ": "<+1245>-12:45", "PYTHONHASHSEED": "4242"}
"""The Chatham Islands without summer time, spelled so that no table of time zones is needed."""

MACHINES = (
    Machine("as-it-is", "nothing: this computer"),
    Machine(
        "no-avx512-bf16",
        "bitsandbytes and oneDNN without AVX512-BF16: 4-bit layers keep their codes in evaluation",
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
        hook="no_avx512_bf16",
        witness="repacking",
        want="kept, right",
    ),
    Machine(
        "repacking-forced",
        "bitsandbytes with AVX512-BF16, its kernel in plain torch: 4-bit layers are repacked in evaluation",
        hook="repacking",
        witness="repacking",
        want="repacked, right",
    ),
    Machine(
        "aten-default",
        "torch's own kernels without vector instructions",
        {"ATEN_CPU_CAPABILITY": "default"},
        witness="aten",
        want="DEFAULT",
    ),
    Machine("aten-avx2", "torch's own kernels on AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, witness="aten", want="AVX2"),
    Machine(
        "aten-avx512", "torch's own kernels on AVX512", {"ATEN_CPU_CAPABILITY": "avx512"}, witness="aten", want="AVX512"
    ),
    Machine(
        "onednn-sse41",
        "oneDNN on a CPU with SSE4.1",
        {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        witness="onednn",
        want="Intel SSE4.1",
    ),
    Machine(
        "onednn-avx2", "oneDNN on a CPU with AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, witness="onednn", want="Intel AVX2"
    ),
    Machine(
        "mkl-compatible",
        "MKL on the code path that every CPU has",
        {"MKL_CBWR": "COMPATIBLE"},
        witness="mkl",
        want="compatible",
    ),
    Machine(
        "mkl-avx2",
        "MKL bound to one code path: AVX2 on Intel, the automatic one elsewhere",
        {"MKL_CBWR": "AVX2"},
        witness="mkl",
        want="on",
    ),
    _core("haswell", "Haswell", "Haswell", "a CPU with AVX2"),
    _core("skylakex", "SkylakeX", "SkylakeX", "a CPU with AVX512"),
    _core("sandybridge", "Sandybridge", "Sandybridge", "a CPU with AVX"),
    _core("nehalem", "Nehalem", "Nehalem", "a CPU with SSE4.2"),
    _core("katmai", "Prescott", "Katmai", "a CPU with SSE3"),
    Machine(
        "numpy-no-avx512",
        "NumPy's own kernels without AVX512",
        prepare=preparations.numpy_without_avx512,
        witness="numpy_avx512",
        want="without",
    ),
    _threads(1),
    _threads(2),
    _threads(4),
    Machine("workers-1", "one process that runs the cases", arguments=("--workers", "1")),
    Machine("workers-3", "three processes that run the cases", arguments=("--workers", "3")),
    Machine(
        "matmul-medium",
        "a caller who lets torch multiply float32 in bfloat16",
        hook="matmul_medium",
        witness="matmul",
        want="medium",
    ),
    Machine(
        "flush-denormal",
        "a caller who has denormal numbers flushed to zero",
        hook="flush_denormal",
        witness="denormals",
        want="flushed",
    ),
    _dtype("float64"),
    _dtype("bfloat16"),
    Machine(
        "turkish",
        "a Turkish locale that the program takes on, another time zone and hash seed",
        ELSEWHERE,
        hook="locale_of_environment",
        prepare=preparations.turkish("UTF-8"),
        witness="country",
        want=", UTF-8 +1245 4242",
    ),
    Machine(
        "turkish-latin5",
        "a Turkish locale, with files in ISO-8859-9 by default",
        {**ELSEWHERE, "PYTHONUTF8": "0"},
        hook="locale_of_environment",
        prepare=preparations.turkish("ISO-8859-9"),
        witness="country",
        want=", ISO-8859-9 +1245 4242",
    ),
    Machine(
        "odd-path",
        "a checkout whose path has a space and an umlaut",
        checkout="prüf stand",
        witness="folder",
        want="prüf stand",
    ),
    Machine("no-git", "no git on PATH", prepare=preparations.no_git, witness="git", want="no git"),
    Machine("shallow", "a clone of one commit", shallow=True, witness="history", want="one commit"),
    Machine(
        "other-user",
        "a user who is not root, without a writable HOME",
        prepare=preparations.other_user,
        witness="user",
        want="not root, home not writable",
    ),
)

SHORT = (("no-avx512-bf16", "mkl-avx2"), ("repacking-forced", "dtype-bfloat16"))
"""What has told something apart: 4-bit layers repacked or not, EVA's start on MKL, dtypes left to default.

Two at a time, so that two audits ask all four; run one of them alone to see which makes a difference.
"""

EXCEPTIONS: tuple[Allowed, ...] = ()
"""Empty: no difference has a cause that is not a fault of ours."""


def choose(names: list[str], short: bool = False) -> tuple[Machine, ...]:
    """The machines of these names, in the registry's order; all if none is named. ValueError with what was meant.

    ``a+b``: a and b emulated at once, a row of its own after the others.
    """
    known = {machine.name: machine for machine in MACHINES}
    for name in (part for row in names for part in row.split("+")):
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"got machine {name!r}, want one of `python -m machines --list`.{hint}")
    if short and not names:
        return tuple(together(*(known[name] for name in row)) for row in SHORT)
    several = tuple(together(*(known[part] for part in name.split("+"))) for name in names if "+" in name)
    return (*(machine for name, machine in known.items() if not names or name in names), *several)
