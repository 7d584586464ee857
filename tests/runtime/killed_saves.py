"""A program that saves and is killed while it does: run with a folder, prints what was found there as JSON.

Each kill hits a fork of this process, which has one thread and the model at hand, so hundreds of them take seconds.
"""

from __future__ import annotations

import builtins
import copy
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from tests.runtime.models import Mlp, move, small_config
from variants import attach, load, save
from variants.runtime import atomic_file, checkpoint

WATCHED = {checkpoint.__file__, atomic_file.__file__}
Found = dict[str, Any]


def die() -> None:
    """SIGKILL: no handler, no finally, no atexit."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(act: Callable[[], object], wait: float | None = None) -> bool:
    """Run ``act`` in a fork, killed from outside after ``wait`` seconds if that is given; whether it was killed."""
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(0)
    if wait is not None:
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def at_line(number: int, act: Callable[[], object]) -> None:
    """Run ``act`` and die before the ``number``-th line of the runtime's own code that it executes."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal count
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            count += 1
            if count == number:
                die()
        return trace

    sys.settrace(trace)
    act()
    sys.settrace(None)


def in_write(part: float, act: Callable[[], object]) -> None:
    """Run ``act`` and die when this part of the file has been handed to the system."""
    real = builtins.open

    def opened(*args: Any, **options: Any) -> Any:
        file = real(*args, **options, buffering=0)
        write = file.write

        class Halting:
            """The file, but for ``write``."""

            def write(self, contents: bytes) -> None:
                write(contents[: int(part * len(contents))])
                die()

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def __enter__(self) -> Halting:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

        return Halting()

    builtins.open = opened
    act()


def around(owner: Any, name: str, number: int, after: bool, act: Callable[[], object]) -> None:
    """Run ``act`` and die right before or after the ``number``-th call of a function of the system."""
    real = getattr(owner, name)
    count = 0

    def call(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and not after:
            die()
        result = real(*args, **options)
        if count == number:
            die()
        return result

    setattr(owner, name, call)
    act()


def main(folder: Path) -> dict[str, list[Found]]:
    """All kills; each entry says where, whether it hit, and what is at the path: ``old``, ``new`` or something else."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = folder / "adapter.safetensors"
    base = Mlp()
    old, new = copy.deepcopy(base), copy.deepcopy(base)
    known = {}
    for name, model in (("old", old), ("new", new)):
        attach(model, small_config("lora"))
        move(model)
        save(model, folder / name)
        load(copy.deepcopy(base), folder / name)
        known[name] = (folder / name).read_bytes()
        (folder / name).unlink()

    def state() -> str:
        here = path.read_bytes()
        return next((name for name, contents in known.items() if here == contents), "neither")

    def kill(where: str, act: Callable[[], object], wait: float | None = None) -> Found:
        path.write_bytes(known["old"])
        hit = in_child(act, wait)
        left = [each for each in folder.iterdir() if each != path]
        found = {"where": where, "hit": hit, "state": state(), "left": [each.name for each in left]}
        for each in left:
            each.unlink()
        return found

    def once() -> None:
        save(new, path)

    def forever() -> None:
        while True:
            save(new, path)
            save(old, path)

    lines = []
    while not lines or lines[-1]["hit"]:
        number = len(lines) + 1
        lines.append(kill(f"line {number}", partial(at_line, number, once)))
    calls = [
        kill(f"{when} {owner.__name__}.{name} {number}", partial(around, owner, name, number, when == "after", once))
        for owner, name, number in (
            (atomic_file, "to_bytes", 1),
            (builtins, "open", 1),
            (os, "fstat", 1),
            (os, "fsync", 1),
            (os, "replace", 1),
            (os, "open", 1),
            (os, "fsync", 2),
            (os, "close", 1),
        )
        for when in ("before", "after")
    ]
    return {
        "lines": lines,
        "calls": calls,
        "writes": [kill(f"write {part / 8}", partial(in_write, part / 8, once)) for part in range(9)],
        "moments": [kill(f"moment {number}", forever, wait=0.0007 * number) for number in range(1, 61)],
        "rivals": rivals(path, old, new, state),
    }


def rivals(path: Path, old: nn.Module, new: nn.Module, state: Callable[[], str]) -> list[Found]:
    """Four processes save to one path, two contents; a reader looks all the while."""
    running = []
    for model in (old, new, old, new):
        child = os.fork()
        if not child:
            try:
                for _ in range(40):
                    save(model, path)
            except BaseException:
                os._exit(1)
            os._exit(0)
        running.append(child)
    seen, failed = [], 0
    while running:
        seen.append({"where": "rivals", "state": state()})
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                running.remove(child)
                failed += status != 0
    left = [each.name for each in path.parent.iterdir() if each != path]
    return [*seen, {"where": "at the end", "state": state(), "left": left, "failed": failed}]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
