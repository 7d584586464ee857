"""The same model in every process, the steps of a plain loop on it, and what it means that two runs are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from learning import task
from learning.distributed import started
from learning.rates import RATES
from learning.task import Data
from variants import AdapterError

LIMIT = 1e-9
"""Everything is in float64; the parts of a batch are summed in another order. A share of a tensor's largest number."""
Tensors = dict[str, Tensor]


class Wrong(Exception):
    """A run that is not the same, and where it is not."""


def taught() -> Data:
    """What every run here learns."""
    return task.data(rule=1, seed=10)


def model_of(name: str) -> Any:
    """A tiny Llama in float64 with the variant on it, the same in every process, its tensors away from their start."""
    return started(name, taught()).double().train()


def optimiser_of(name: str, model: nn.Module) -> torch.optim.AdamW:
    """AdamW on what trains, at the rate of the method's authors."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATES[name].lr, weight_decay=0.0)


def gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensors:
    """The gradients of the mean loss, whole; they stay on the model."""
    task.loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
    return whole({key: p.grad for key, p in model.named_parameters() if p.grad is not None})


def trained(model: nn.Module) -> Tensors:
    """What trains, whole, without the name of a wrapper."""
    return whole({key: p for key, p in model.named_parameters() if p.requires_grad})


def whole(tensors: Mapping[str, Any]) -> Tensors:
    """Copies; shards are gathered, so every process has to call it."""
    return {
        key.removeprefix("module."): (t.full_tensor() if hasattr(t, "full_tensor") else t).detach().clone()
        for key, t in tensors.items()
    }


def stepped(name: str, steps: int) -> tuple[Tensors, Tensors]:
    """Gradients of the first step, and the tensors after the last one, of a plain loop in one process."""
    model, data = model_of(name), taught()
    first: Tensors = {}
    optimiser = optimiser_of(name, model)
    for step in range(steps):
        optimiser.zero_grad()
        found = gradients(model, *data.batch(step))
        first = first or found
        optimiser.step()
    return first, trained(model)


def require_same(got: Tensors, want: Tensors, what: str, limit: float = LIMIT) -> None:
    """Wrong, with the first tensor that differs. With ``limit`` 0, equal bit for bit."""
    if got.keys() != want.keys():
        raise Wrong(f"{what}: not the same tensors")
    for key, tensor in want.items():
        if not (got[key] - tensor).abs().max() <= limit * tensor.abs().max():
            raise Wrong(f"{what}: {key}")


def answer(call: Any, *given: Any) -> str:
    """``same``, ``refuses: why`` or ``fails: why``."""
    try:
        call(*given)
    except AdapterError as error:
        return f"refuses: {error.told}"
    except Wrong as error:
        return f"fails: {error}"
    except Exception as error:  # a row is no reason to lose the others
        lines = str(error).splitlines() or [""]
        return f"fails: {type(error).__name__}: {lines[0]}"
    return "same"
