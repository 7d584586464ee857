"""Recorded numbers of somebody's own, from a folder that is what its manifest says: one vector per configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from refs.golden_vectors import MANIFEST, GoldenError, Vector, vectors
from refs.reference import Recorded

WRITE_THEM = "Record them: conformance record vectors --entries MODULE:ATTRIBUTE"
"""What to do about vectors that are not there yet."""
KEYS = ("probe", "probe_id", "trained")
"""What the manifest says of each vector's configuration."""


def recorded(name: str, folder: Path | str, math: str = "as recorded") -> Recorded:
    """The reference ``recorded:NAME`` of a method of one's own: the vectors of a folder, which may not be there yet.

    ``math``: the formula for the card, if there is one.
    """
    return Recorded(f"recorded:{name}", Path(folder).resolve(), math)


def vectors_of(reference: Recorded) -> dict[str, Vector]:
    """Every vector by its configuration. GoldenError for a folder that is missing, or not what its manifest says."""
    manifest = reference.folder / MANIFEST
    if not manifest.is_file():
        raise GoldenError(f"got no {MANIFEST} in {reference.folder}, want recorded vectors. {WRITE_THEM}")
    return dict(_read(reference.folder, manifest.stat().st_mtime_ns))


@lru_cache(maxsize=8)
def _read(folder: Path, changed: int) -> Mapping[str, Vector]:
    """Hundreds of cases ask for the same files; ``changed`` tells one recording from the next."""
    found = vectors(folder=folder)
    for vector in found:
        if lacking := [key for key in KEYS if key not in vector.config]:
            raise GoldenError(
                f"got {vector.file} without {', '.join(lacking)} in {folder / MANIFEST}, want what was recorded here. "
                f"{WRITE_THEM}"
            )
    return {str(vector.config["probe_id"]): vector for vector in found}


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix (``t.``, ``grad.``, ``start.``), by what follows it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
