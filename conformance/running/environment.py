"""The machine and the versions of a run: for the evidence and for people who compare two runs, never for a card."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

VARIABLES = re.compile(r"(OMP|MKL|ONEDNN|DNNL|OPENBLAS|NPY|ATEN|TORCH|KMP|LC|PYTHONHASHSEED|LANG|TZ|BNB)(_.*)?")
"""Environment variables that choose a code path, a number of threads or a locale."""
PACKAGES = ("torch", "peft", "transformers", "bitsandbytes", "numpy", "safetensors", "accelerate", "pytest")
INSTRUCTIONS = re.compile(r"\b(?:sse4_2|avx2?|fma|avx512\w+|avx_vnni|amx_\w+|asimd\w*|sve\w*|bf16)\b")


def environment() -> dict[str, Any]:
    """CPU, instruction sets, cores, versions, commit, and the environment variables that choose between code paths."""
    model, instructions = _cpu()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": model,
        "instructions": instructions,
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)},
        "encoding": sys.getfilesystemencoding(),
    }


def _cpu() -> tuple[str, list[str]]:
    """Model and instruction sets, as Linux tells them; elsewhere what the standard library knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), []
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    found = INSTRUCTIONS.findall(flags.group(1)) if flags else []
    return model.group(1) if model else platform.machine(), sorted(set(found))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The checked-out commit, with a ``+`` where files differ from it; ``unknown`` outside git."""
    root = Path(__file__).parents[2]
    try:
        commit, changes = (
            subprocess.run(
                ["git", *command], cwd=root, capture_output=True, encoding="utf-8", check=True
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changes else "")
