"""The packages whose version can decide a verdict: what is installed, and what the lock says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata

DECIDING = ("bitsandbytes", "peft", "torch", "transformers")
"""Pinned exactly in ``pyproject.toml``. peft gives the references; the others compute with them."""


def installed() -> dict[str, str]:
    """Name -> version, without a local part such as ``+cpu``; ``not installed`` where there is none."""
    return {name: _version(name) for name in DECIDING}


def drifted(locked: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """Name, installed and locked version of each package that is not the one of the lock."""
    found = installed()
    return tuple((name, found[name], locked.get(name, "none")) for name in DECIDING if found[name] != locked.get(name))


def version_of(package: str) -> str:
    """Of the distribution that brings a package; empty for a module that no distribution brings."""
    for name in (package, *metadata.packages_distributions().get(package, ())):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def _version(name: str) -> str:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "not installed"
