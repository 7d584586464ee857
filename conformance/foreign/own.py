"""References of somebody else's own: a formula alone, or a layer with a lock file beside the entry."""

from __future__ import annotations

import numpy as np
import torch

from refs.reference import Method
from refs.settings import Settings
from refs.subject import Slot


def tensors_of_closed(method: Method) -> dict[str, Slot]:
    """The tensors of a method that has a closed form alone, where that gives their start on a layer 12 -> 20."""
    form = method.closed
    if form is None or (form.start is None and form.draw is None):
        return {}
    torch.default_generator.manual_seed(0)
    W = torch.nn.Linear(12, 20).weight.detach().double().numpy()
    settings = Settings(r=4, alpha=6.0, options=form.options)
    if form.draw is not None:
        started = form.draw(np.random.default_rng(0), W, settings)
    else:
        assert form.start is not None
        started = form.start(W, settings)
    return {
        name: Slot(torch.from_numpy(np.ascontiguousarray(value)), None, name not in form.frozen, "parameter")
        for name, value in started.items()
    }
