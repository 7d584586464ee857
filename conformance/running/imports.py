"""What the cases of a plan need of other libraries, imported once, in the process that forks the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from refs.reference import Live

if TYPE_CHECKING:
    from conformance.planning.plan import Planned

PEFT = "peft"
WITHOUT = ("torch._dynamo", "transformers.pytorch_utils", "bitsandbytes")
"""What cases use that ask no layer of peft: optimisers and compiled layers, Conv1D, quantised layers. peft has all."""


def import_for(plan: Sequence[Planned]) -> None:
    """The libraries that most plans of this kind need; what else a case needs it imports itself, in each worker."""
    live = any(isinstance(each.reference, Live) and each.reference.package == PEFT for each in plan)
    with compiling_later():
        for name in (PEFT,) if live else WITHOUT:
            if find_spec(name.partition(".")[0]) is not None:
                import_module(name)


@contextmanager
def compiling_later() -> Iterator[None]:
    """Inside, ``torch.compile`` gives functions that are compiled when they are first called.

    bitsandbytes decorates four functions while it is imported. That alone imports TorchInductor, which takes a second,
    and no audit on a CPU calls one of them.
    """
    real = torch.compile
    torch.compile = _later(real)
    try:
        yield
    finally:
        torch.compile = real


def _later(real: Callable[..., Any]) -> Callable[..., Any]:
    def compile(model: Any = None, **options: Any) -> Any:
        if model is None:
            return lambda given: compile(given, **options)
        made: list[Any] = []

        @wraps(model)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not made:
                made.append(real(model, **options))
            return made[0](*args, **kwargs)

        return call

    return compile
