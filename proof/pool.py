"""Many small jobs over a few processes, in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def each(ask: Callable[[Job], Answer], jobs: Iterable[Job], workers: int) -> list[Answer]:
    """``[ask(job) for job in jobs]`` over that many fresh processes; in this one, if it is 1.

    ``ask`` must be a function of a module, and jobs and answers must pickle. An error in a job, or the death of a
    process, is raised here.
    """
    jobs = list(jobs)
    if workers == 1:
        return [ask(job) for job in jobs]
    # Fresh ones: a fork of a process in which torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        return list(pool.map(ask, jobs))


def _one_thread() -> None:
    """The cases are small: threads would wait for each other."""
    import torch

    torch.set_num_threads(1)
