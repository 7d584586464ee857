"""Wrappers around a model: ``torch.compile``, DataParallel, DistributedDataParallel, FullyShardedDataParallel.

An adapter is a change of the model inside. Put on after wrapping it would be passed over in silence: compiled code does
not look for new hooks, and DDP has listed the parameters that it synchronises.
"""

from __future__ import annotations

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


def _attribute(model: object) -> str | None:
    for kind in type(model).__mro__:
        if kind.__module__.startswith("torch.") and kind.__name__ in INSIDE:
            return INSIDE[kind.__name__]
    return None
