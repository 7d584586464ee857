"""Run cases in a process of their own, a JSON line per finding: ``python -m conformance.running.worker [NAME ...]``.

A crash in here (a segfault, say) ends this process and not the one that judges, which then sees what is missing.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from conformance.running.children import end_with_the_parent
from conformance.running.evidence import footer, header

if TYPE_CHECKING:
    from conformance.planning.plan import Planned

_plan: Sequence[Planned] = ()
"""Of this process and of those that it forks."""


def main(arguments: list[str] | None = None) -> int:
    """Write header, case ids, findings and footer to the real standard output; other prints go to standard error.

    ``--start N`` leaves the first N cases of the plan out, ``--without NAME`` those of a variant.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("variants", nargs="*")
    parser.add_argument("--case")
    parser.add_argument("--entries")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args(arguments)
    end_with_the_parent()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    import torch

    torch.set_num_threads(1)
    from conformance.planning.names import BadRequest
    from conformance.planning.select import entries_at, plan_for

    try:
        plan = plan_for(options.variants, entries_at(options.entries), options.case)
    except BadRequest:
        return 2  # the parent plans the same and says why
    forks = options.workers > 1 and sys.platform == "linux"  # elsewhere imports may have threads, which forks lose
    if forks:
        from conformance.running.imports import import_for

        import_for(plan)  # once for all, before the first case is waited for

    gc.freeze()  # what is imported and planned stays: no collection looks at it again
    _say(channel, header(""))
    _say(channel, {"plan": [planned.case.id for planned in plan]})
    left = [p for p in plan[options.start :] if p.case.variant not in options.without]
    for row in _asked(left, options.workers if forks else 1):
        _say(channel, row)
    _say(channel, footer("", len(left)))
    return 0


def _asked(plan: Sequence[Planned], workers: int) -> Iterator[dict[str, object]]:
    """The findings in the plan's order; of several workers, each is a fork that finds the references imported.

    For few cases the imports are most of the time, and two processes that do them at once hinder each other.
    """
    global _plan
    _plan = plan
    if workers == 1:
        yield from map(_ask, range(len(plan)))
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_the_parent) as pool:
        yield from pool.map(_ask, range(len(plan)))


def _ask(number: int) -> dict[str, object]:
    from conformance.running.run import run_case

    return run_case(_plan[number]).to_json()


def _say(channel, row: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    channel.write(json.dumps(row) + "\n")
    channel.flush()


if __name__ == "__main__":
    sys.exit(main())
