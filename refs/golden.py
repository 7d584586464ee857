"""``python -m refs.golden [FOLDER]``: does every golden vector of a folder reproduce?

A folder of this form has a ``manifest.json`` that lists its files with SHA-256, variant, configuration and the distance
of an independent float64 evaluation; that distance, times 1.01, is the limit. Exit status 0 if all reproduce, else 1;
2 for a folder that is not what its manifest says.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from refs.golden_vectors import GOLDEN, GoldenError, Vector, vectors
from refs.reproduce.distance import Irreproducible
from refs.reproduce.vector import reproduce


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m refs.golden", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("folder", nargs="?", type=Path, default=GOLDEN, help="default: the vectors of this repository")
    folder = parser.parse_args(arguments).folder
    try:
        found = vectors(folder=folder)
    except GoldenError as error:
        print(error, file=sys.stderr)
        return 2
    if not found:
        print(f"got a manifest that lists no file in {folder}, want at least one vector", file=sys.stderr)
        return 2
    missed = {vector.file: told for vector in found if (told := missing(vector))}
    for file, told in missed.items():
        print(f"{file}: {told}")
    counts = Counter(vector.method for vector in found)
    wrong = Counter(vector.method for vector in found if vector.file in missed)
    for method, count in sorted(counts.items()):
        print(f"{method}: {count - wrong[method]} of {count} vectors reproduced")
    return 1 if missed else 0


def missing(vector: Vector) -> str:
    """What of a vector is not reproduced; empty if all of it is."""
    try:
        distances = reproduce(vector)
    except (Irreproducible, KeyError, ValueError, RuntimeError) as error:
        return f"cannot be recomputed: {type(error).__name__}: {error}"
    if not distances:
        return "nothing was compared"
    return "; ".join(str(d) for d in distances if not d.reproduced)


if __name__ == "__main__":
    sys.exit(main())
