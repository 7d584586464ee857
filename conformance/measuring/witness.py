"""The closed form as a witness in a case: its output and gradients in NumPy float64, by hand-written adjoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conformance.measuring.conditioning import moved_weight
from conformance.measuring.trial import RESIDUAL, Run, Trial
from refs.reference import ClosedForm
from refs.subject import Subject


def start(trial: Trial) -> Subject:
    """Where the closed form starts: at t=0 from the subject's own values, else from the live reference's.

    The two references then speak of the same perturbed numbers, so that one may be a witness against the other.
    """
    method = trial.entry.method
    other = None if method is None else method.witness_for(trial.probe.settings)
    if trial.probe.state == "t0" or other is None:
        return trial.subject()
    return replace(trial, reference=other).reference_subject()


def own_start(
    trial: Trial, form: ClosedForm, seed: int = 0, *, nudge: float = 0.0, pattern: int = 1
) -> dict[str, Tensor] | None:
    """The tensors as the closed form says that they start, in float64; None where it does not say.

    ``nudge``: the relative error of the weight, in one of the patterns of ``conditioning.moved_weight``.
    """
    settings = trial.probe.settings
    if not form.tells(settings):
        return None
    weight = trial.layer("float64").weight.detach()
    W = moved_weight(weight, nudge, pattern).numpy()
    if form.draw is not None:
        started = form.draw(np.random.default_rng([trial.probe.seed, 7, seed]), W, settings)
    elif form.start is not None:
        started = form.start(W, settings)
    else:
        return None
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in started.items()}


def passes(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor], *, x: Tensor, cotangent: Tensor) -> Run:
    """Output and gradients at these tensors, the weight as the probe's dtype holds it. No gradients without a pullback.

    Everything is computed in float64, whatever the dtype of ``x`` and ``cotangent``.
    """
    settings, layer = trial.probe.settings, trial.layer("float64")
    tensors = {name: v.double().numpy() for name, v in values.items()}
    W = tensors.pop(RESIDUAL, layer.weight.detach().numpy())
    b = np.zeros(len(W)) if layer.bias is None else layer.bias.detach().numpy()
    weight, bias = form.effective(tensors, W, b, settings)
    inputs, c = x.double().numpy(), cotangent.double().numpy()
    y = torch.from_numpy(inputs @ weight.T + bias)
    if form.pullback is None:
        return Run(y, None)
    flat_x, flat_c = inputs.reshape(-1, inputs.shape[-1]), c.reshape(-1, c.shape[-1])
    grads = form.pullback(tensors, W, b, settings, flat_c.T @ flat_x, flat_c.sum(axis=0))
    of_x = torch.from_numpy(c @ weight)
    return Run(y, of_x, {name: torch.from_numpy(np.ascontiguousarray(g)) for name, g in grads.items()})
