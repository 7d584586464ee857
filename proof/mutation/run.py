"""Run all mutants, or a sample of them, and sum up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from proof.mutation.known import KNOWN
from proof.mutation.mutants import Mutant, files, mutants
from proof.mutation.trial import (
    BROKEN,
    EQUAL,
    KILLED,
    LEFT_OUT,
    SURVIVED,
    TIMED_OUT,
    Tried,
    entry_of,
    first_kill,
    loaded,
    try_mutant,
)
from proof.pool import each

ENOUGH = 0.95
"""Share of the mutants that are not equivalent which must be killed."""


def run(workers: int, chosen: Sequence[Mutant] | None = None, *, again: bool = False) -> list[Tried]:
    """Every mutant, or those chosen, tried; with ``again`` also those that are known to live."""
    return each(partial(try_mutant, again=again), mutants() if chosen is None else chosen, workers)


def sample(n: int, seed: int, of: Sequence[Mutant] | None = None) -> list[Mutant]:
    """``n`` mutants spread over the files by their number, the same for a seed."""
    everyone = list(mutants() if of is None else of)
    random.Random(seed).shuffle(everyone)
    return everyone[:n]


def controls(workers: int, chosen: Sequence[str] | None = None, every: int = 1) -> dict[str, str]:
    """Each file, or those chosen, loaded in the same way without a mistake -> the case that kills it: must be none.

    ``every``: for a sample, one of so many probes of each check.
    """
    asked = files() if chosen is None else chosen
    return dict(zip(asked, each(partial(_control, every=every), asked, workers)))


def _control(file: str, every: int) -> str:
    """Of a file that several variants are made of, one of them: the others' own files have theirs."""
    with loaded(file, None) as classes:
        return first_kill([entry_of(next(iter(classes)), classes)], every)


def share_killed(rows: Sequence[Tried]) -> float:
    """Of those that load, are not equivalent, and concern what the harness asks about."""
    counted = [row for row in rows if row.status not in (EQUAL, LEFT_OUT, BROKEN)]
    return sum(row.status in (KILLED, TIMED_OUT) for row in counted) / max(len(counted), 1)


def survivors(rows: Sequence[Tried]) -> list[Tried]:
    """Those that stand for a gap in the harness: known ones have a reason."""
    return [row for row in rows if row.status == SURVIVED]


def stale(rows: Sequence[Tried]) -> list[tuple[str, ...]]:
    """Rows of ``KNOWN`` that fit no mutant which lives."""
    used = {
        (row.file, row.function, row.operator, row.before, row.after)
        for row in rows
        if row.status in (EQUAL, LEFT_OUT, SURVIVED)
    }
    files = {row.file for row in rows}
    return sorted(key for key in set(KNOWN) - used if key[0] in files)
