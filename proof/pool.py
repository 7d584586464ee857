"""Many small jobs over a few processes, in order; what is done can be kept, so that a long run goes on later."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class OutOfTimeError(Exception):
    """The time given to a run is up. What is done is kept; ``answers`` has it, in order."""

    def __init__(self, answers: list[Any], jobs: int) -> None:
        super().__init__(f"{len(answers)} of {jobs} jobs of this part are done")
        self.answers = answers
        self.left = jobs - len(answers)


@dataclass(frozen=True)
class Store:
    """A folder of answers, one file each, and the moment (``time.monotonic()``) after which no job begins."""

    folder: Path
    until: float = float("inf")

    def file(self, ask: Callable[..., Any], job: Any) -> Path:
        """Where the answer to a job is kept."""
        more: Any = ""
        while isinstance(ask, partial):
            more, ask = (ask.args, sorted(ask.keywords.items()), more), ask.func
        name = f"{ask.__module__}.{ask.__qualname__}"
        digest = hashlib.sha256(repr((more, job)).encode()).hexdigest()[:24]
        return self.folder / name / digest


_store: ContextVar[Store | None] = ContextVar("store", default=None)


@contextmanager
def keeping(folder: Path, seconds: float = float("inf")) -> Iterator[None]:
    """Inside, ``each`` keeps every answer in ``folder`` and takes it from there; after ``seconds`` it begins no job.

    A job is known by its ``repr``. The caller names the folder after everything else that an answer depends on.
    """
    token = _store.set(Store(folder, time.monotonic() + seconds))
    try:
        yield
    finally:
        _store.reset(token)


def each(ask: Callable[[Job], Answer], jobs: Iterable[Job], workers: int) -> list[Answer]:
    """``[ask(job) for job in jobs]`` over that many fresh processes; in this one, if it is 1.

    ``ask`` must be a function of a module, and jobs and answers must pickle. An error in a job, or the death of a
    process, is raised here. Raises ``OutOfTimeError`` inside ``keeping`` when its time is up before all are done.
    """
    jobs = list(jobs)
    store = _store.get()
    if store is not None:
        return _kept(ask, jobs, workers, store)
    if workers == 1:
        return [ask(job) for job in jobs]
    with _pool(workers) as pool:
        return list(pool.map(ask, jobs))


def _kept(ask: Callable[[Job], Answer], jobs: list[Job], workers: int, store: Store) -> list[Answer]:
    files = [store.file(ask, job) for job in jobs]
    waiting = [(file, job) for file, job in zip(files, jobs) if not file.is_file()]
    if waiting:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        running: dict[Future[Answer], Path] = {}
        with _pool(workers) as pool:
            while running or (waiting and time.monotonic() < store.until):
                while waiting and len(running) < workers and time.monotonic() < store.until:
                    file, job = waiting.pop(0)
                    running[pool.submit(ask, job)] = file
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    _write(running.pop(future), future.result())
    answers = [pickle.loads(file.read_bytes()) for file in files if file.is_file()]
    if waiting:
        raise OutOfTimeError(answers, len(jobs))
    return answers


def _write(file: Path, answer: object) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(pickle.dumps(answer))
    part.replace(file)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Fresh ones: a fork of a process in which torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)


def _one_thread() -> None:
    """The cases are small: threads would wait for each other."""
    import torch

    torch.set_num_threads(1)
