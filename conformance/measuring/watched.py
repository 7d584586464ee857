"""Which lines of code make, fill, use and return tensors: every operation of torch with the stack that asked for it.

Foreign code needs no preparation. A tensor is known by its storage. A copy or a cast passes on where its numbers are
from, so that the line that drew them is found behind the one that moved them.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPIES = ("aten::_to_copy", "aten::clone", "aten::copy_", "aten::lift_fresh_copy", "aten::contiguous")
TORCH = str(Path(torch.__file__).parent)
STANDARD = str(Path(sysconfig.get_path("stdlib")))


@dataclass(frozen=True)
class Frame:
    """One line of a stack: file, line, and the function's qualified name."""

    file: str
    line: int
    function: str


Stack = tuple[Frame, ...]
"""The innermost frame first; torch's and the standard library's are left out."""


class Watch(TorchDispatchMode):
    """What happened to each storage while it was on. Later events replace earlier ones, but for the first use.

    ``created``: where its memory is from; ``born``: where the memory is from that its numbers were first put in, copies
    followed back; ``filled``: where its numbers are from; ``used``: the first operation that read it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.created: dict[int, Stack] = {}
        self.born: dict[int, Stack] = {}
        self.filled: dict[int, Stack] = {}
        self.used: dict[int, Stack] = {}
        self.stacks: list[Stack] = []
        self._alive: list[Any] = []
        self._outermost = sys._getframe(1).f_code

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and note it."""
        out = func(*args, **(kwargs or {}))
        stack = tuple(self._stack())
        given = [key(t) for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self._alive += [t.untyped_storage() for t in made]  # so that no later tensor gets the storage's address
        self.stacks.append(stack)
        for each in given:
            self.used.setdefault(each, stack)
        source = given[-1] if given and func._schema.name in COPIES else None
        for each in map(key, made):
            if each not in given:
                self.created[each] = stack
                self.born[each] = stack if source is None else self.born.get(source, stack)
            if each not in given or func._schema.is_mutable:
                self.filled[each] = stack if source is None else self.filled.get(source, stack)
        return out

    def _stack(self) -> Iterator[Frame]:
        """From the operation to the function that began to watch, which is left out."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not self._outermost:
            code = frame.f_code
            if not _of_torch(code.co_filename):
                yield Frame(code.co_filename, frame.f_lineno, code.co_qualname)
            frame = frame.f_back


def key(tensor: Tensor) -> int:
    """Of the storage behind a tensor, for as long as that lives."""
    return int(tensor.untyped_storage()._cdata)


@cache
def _of_torch(file: str) -> bool:
    """Torch's, the standard library's (not what is installed below it), or this module."""
    standard = file.startswith(STANDARD) and "site-packages" not in file
    return file.startswith((TORCH, "<")) or standard or file == __file__
