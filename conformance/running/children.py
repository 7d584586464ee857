"""Child processes in groups of their own: ended as a whole, at once, and not reached by the terminal's Ctrl-C.

A child that gets Ctrl-C by itself prints its own traceback, and one whose parent alone is ended goes on for as long as
its case takes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h: the signal that a process gets when its parent ends."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_lock = threading.RLock()
_alive: list[subprocess.Popen[Any]] = []
_holding = False
_pending: int | None = None
_written = False


def start(command: Sequence[str], **more: Any) -> subprocess.Popen[Any]:
    """``subprocess.Popen`` in a new process group, without the terminal's input."""
    own_group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    with _lock:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **own_group, **more)
        _alive.append(child)
    return child


def end(child: subprocess.Popen[Any]) -> None:
    """Kill a child with all that it started, and forget it."""
    with _lock:
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # it has ended
                os.killpg(child.pid, signal.SIGKILL)
        elif child.poll() is None:
            child.kill()
        if child in _alive:
            _alive.remove(child)
    child.wait()


def end_all() -> None:
    """Kill every child."""
    with _lock:
        for child in [*_alive]:
            end(child)


def end_with_the_parent() -> None:
    """Have Linux kill this process when its parent ends in a way that no handler sees."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def ended_on_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the children and this process at once, with one line and status 128 + signal.

    Nothing is raised: an exception in the middle of another library's import prints what that library makes of it.
    """
    global _written
    _written = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """What is written inside is written whole: a signal waits for its end."""
    global _holding, _written
    _holding = True
    try:
        yield
        _written = True
    finally:
        _holding = False
        if _pending is not None:
            _leave(_pending, None)


def _leave(number: int, frame: FrameType | None) -> None:
    global _pending
    if _holding:
        _pending = number
        return
    end_all()
    state = "the cards are written" if _written else "no card was touched"
    line = f"conformance: interrupted by {signal.Signals(number).name}; {state}\n"
    os.write(2, (("\n" if os.isatty(2) else "") + line).encode())
    os._exit(128 + number)
