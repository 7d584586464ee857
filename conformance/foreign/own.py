"""References of somebody else's own: a formula alone, or a layer with a lock file beside the entry."""

from __future__ import annotations

import torch

from refs.reference import Method
from refs.settings import Settings
from refs.subject import Slot


def tensors_of_closed(method: Method) -> dict[str, Slot]:
    """The tensors of a method that has a closed form alone, where that gives their start on a layer 12 -> 20."""
    form = method.closed
    if form is None or form.start is None:
        return {}
    torch.default_generator.manual_seed(0)
    W = torch.nn.Linear(12, 20).weight.detach().double().numpy()
    started = form.start(W, Settings(r=4, alpha=6.0, options=form.options))
    return {name: Slot(torch.from_numpy(value), None, True, "parameter") for name, value in started.items()}
