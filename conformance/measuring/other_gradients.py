"""How far a gradient is from another one of the same function that the authors offer, too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from conformance.measuring.compare import close
from conformance.measuring.decades import decade
from conformance.measuring.trial import RESIDUAL, Run, Trial
from conformance.nouns.facts import OptionFacts, SidePair
from refs.reference import Alternative

EQUAL = "equal"


def option_facts(trial: Trial, values: Mapping[str, Tensor], got: Run, want: Run) -> OptionFacts | None:
    """Of the first alternative, where tensors were moved and everything is in float64: at the start some are zero."""
    method = trial.entry.method
    if method is None or not method.alternatives or trial.probe.state == "t0" or trial.probe.dtype != "float64":
        return None
    alternative = method.alternatives[0]
    other = _gradients(trial, alternative, values)
    pairs = tuple(
        SidePair(name, _distance(got.grads.get(name), theirs), _distance(want.grads.get(name), theirs))
        for name, theirs in other.items()
    )
    return OptionFacts(alternative.option, alternative.what, pairs)


def recognised(facts: OptionFacts | None) -> str:
    """In words, where the subject has exactly the other gradients and the reference does not; else nothing."""
    if facts is None or all(pair.reference == EQUAL for pair in facts.tensors):
        return ""
    if any(pair.subject != EQUAL for pair in facts.tensors):
        return ""
    return f"these are the gradients of the authors' {facts.option}: {facts.what}"


def _gradients(trial: Trial, alternative: Alternative, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: value.double().numpy() for name, value in values.items()}
    layer = trial.layer("float64")
    W = tensors.pop(RESIDUAL, layer.weight.detach().numpy())
    b = np.zeros(len(W)) if layer.bias is None else layer.bias.detach().numpy()
    x = trial.x.double().numpy().reshape(-1, trial.probe.d_in)
    c = trial.cotangent.double().numpy().reshape(-1, trial.probe.d_out)
    found = alternative.pullback(tensors, W, b, trial.probe.settings, c.T @ x, c.sum(axis=0))
    return {name: torch.from_numpy(np.ascontiguousarray(g)) for name, g in found.items()}


def _distance(grad: Tensor | None, other: Tensor) -> str:
    if grad is None:
        return "none"
    if close(grad.double(), other, "gradient").agrees:
        return EQUAL
    size = other.norm().item()
    return decade((grad.double() - other).norm().item() / size) if size else "off, where it is zero"
