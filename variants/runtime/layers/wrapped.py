"""Wrappers around a model: ``torch.compile``, DataParallel, DistributedDataParallel, FullyShardedDataParallel.

An adapter is a change of the model inside. Put on after wrapping it would be passed over in silence: compiled code does
not look for new hooks, and DDP has listed the parameters that it synchronises.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from typing import Any

import torch
from torch import nn

from variants.runtime.errors import AdapterError

INSIDE = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
}
"""Class of a wrapper -> where it keeps the model."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside all wrappers; the model itself if there are none."""
    while (attribute := _attribute(model)) is not None:
        model = getattr(model, attribute)
    return model


def refuse_wrapped(model: object, where: str) -> None:
    """Adapters go on (and off) the model itself, before it is wrapped."""
    path, inner = "model", model
    while isinstance(inner, nn.Module) and (attribute := _attribute(inner)) is not None:
        path, inner = f"{path}.{attribute}", getattr(inner, attribute)
    if path == "model":
        return
    raise AdapterError(
        got=f"a model wrapped in {type(model).__name__}",
        want="the model itself: what is already compiled or distributed passes over an adapter that comes later",
        where=where,
        fix=f"Call it with {path}, and wrap the model again afterwards.",
    )


def forget_compiled(model: nn.Module) -> None:
    """Let compiled code of this model's classes be compiled anew: it would not see the hooks of a new adapter.

    A module of torch's own (a Sequential) is compiled by way of ``wrap_inline``, which does not tell whose code it is.
    ``torch.compiler.reset`` forgets all compiled code; that costs time where there is other code, and nothing else.
    """
    if "torch._dynamo" not in sys.modules:
        return
    entries: Any = import_module("torch._C._dynamo.eval_frame")._debug_get_cache_entry_list
    inline: Any = import_module("torch._dynamo.external_utils").wrap_inline
    codes = {each for kind in {type(m) for m in model.modules()} for each in _codes(kind)}
    if any(entries(code) for code in (*codes, *filter(inspect.iscode, inline.__code__.co_consts))):
        torch.compiler.reset()


def _codes(kind: type[nn.Module]) -> list[Any]:
    """Of the forward that runs, decorators looked through, for each of them can be what is compiled."""
    found, function = [], getattr(kind, "forward", None)
    while function is not None:
        found.append(getattr(function, "__code__", None))
        function = getattr(function, "__wrapped__", None)
    return [code for code in found if inspect.iscode(code)]


def _attribute(model: object) -> str | None:
    for kind in type(model).__mro__:
        if kind.__module__.startswith("torch.") and kind.__name__ in INSIDE:
            return INSIDE[kind.__name__]
    return None
