"""The table of runs: a TSV file with one row per run, appended to, never rewritten."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from conformance.planning.names import BadRequest


def rows(path: Path) -> list[dict[str, str]]:
    """Every row by column. BadRequest: the file cannot be read, or a row has other columns than the header."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"--results: got {path} ({error.strerror}), want a table that runs were written to.") from None
    found = list(csv.DictReader(io.StringIO(text), delimiter="\t", restkey="", restval=""))
    for at, row in enumerate(found, start=2):
        if "" in row or not row.get("run_id"):
            raise BadRequest(f"--results: got line {at} of {path} in another form than its header, want a row per run.")
    return found


def append(path: Path, row: Mapping[str, object]) -> None:
    """One row more; the header first, if the file is new. BadRequest: the file has other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", newline="") as file, _alone(file):
        file.seek(0)
        header = file.readline().rstrip("\n")
        columns = header.split("\t") if header else list(row)
        if columns != list(row):
            other = sorted(set(columns) ^ set(row)) or ["another order"]
            raise BadRequest(
                f"--results: got {path} with other columns ({', '.join(other[:4])}), want those of this version. "
                "Write to another file."
            )
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        if not header:
            writer.writeheader()
        writer.writerow(row)


@contextlib.contextmanager
def _alone(file: IO[str]) -> Iterator[None]:
    """No other process appends meanwhile, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
        file.flush()
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
