"""Run a model on the user's batches as it is, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from variants.runtime.errors import AdapterError
from variants.runtime.layers.packing import left_as_they_are


def run_as_it_is(
    model: nn.Module,
    batches: Iterable[Any],
    where: str,
    then: Callable[[Any, int], None] | None = None,
    *,
    training: bool = False,
) -> None:
    """Call the model on every batch, in eval mode and without gradients; ``then(batch, number)`` after each.

    In training mode, if asked to; random states and buffers (running statistics) are put back then.

    A batch is a mapping (``model(**batch)``), a tuple or list (``model(*batch)``), or one tensor. Training flags are
    put back at the end, and quantised layers left as they are. ``AdapterError`` names the batch that does not fit.
    """
    flags = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()] if training else []
    try:
        model.train(training)
        with torch.random.fork_rng(enabled=training), torch.no_grad(), left_as_they_are(model):
            for number, batch in enumerate(batches):
                _call(model, batch, f"{where} batch {number}")
                if then is not None:
                    then(batch, number)
    finally:
        for module, flag in flags.items():
            module.training = flag
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _call(model: nn.Module, batch: Any, where: str) -> None:
    try:
        if isinstance(batch, Mapping):
            model(**batch)
        elif isinstance(batch, tuple | list):
            model(*batch)
        else:
            model(batch)
    except Exception as error:
        raise AdapterError(
            got=f"{type(error).__name__}: {error}",
            want="a batch that the model can be called with",
            where=where,
            fix="Pass what you would call the model with: a mapping, a tuple or one tensor.",
        ) from error
