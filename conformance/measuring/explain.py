"""A residual in words, where it is exactly of one of a few known forms: a multiple of the bias, another scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conformance.measuring.trial import Trial

EXACTLY = 1e-9
"""A form fits when what it leaves of the residual is below this share of it: it is named, or nothing is said."""

ROWS = 3
"""Different inputs that there must be before "the same for each input" is said."""


def explained(trial: Trial, got: Tensor, want: Tensor, values: Mapping[str, Tensor]) -> str:
    """Such as "the residual is (1 - g) * bias", "the adapter's part is r/alpha times the reference's"; or nothing."""
    if got.shape != want.shape or got.dtype != torch.float64 or not got.numel() or trial.drops:
        return ""
    layer = trial.layer()
    off = (got - want).reshape(-1, want.shape[-1])
    if not bool(off.isfinite().all()) or not bool(off.any()):
        return ""
    with torch.no_grad():
        base = layer(trial.x).reshape(off.shape)
    return (
        _of_the_bias(trial, layer, off, values)
        or _of_the_scale(trial, got, want, base)
        or _of_each_output(layer, off, trial.x)
    )


def _fits(rest: Tensor, whole: Tensor) -> bool:
    return bool(rest.abs().max() <= EXACTLY * whole.abs().max())


def _of_the_bias(trial: Trial, layer: nn.Linear, off: Tensor, values: Mapping[str, Tensor]) -> str:
    if layer.bias is None or not _fits(off - off[:1], off):
        return ""
    factor = off[0] / layer.bias.detach()
    for name, form in _factors(trial, layer, values).items():
        if form.shape == factor.shape and _fits(factor - form, factor):
            return f"the residual is {name} * bias"
    if _fits(factor - factor[0], factor):
        return f"the residual is {factor[0].item():.6g} * bias"
    return ""


def _of_each_output(layer: nn.Linear, off: Tensor, x: Tensor) -> str:
    """Of few inputs, being the same for all of them says nothing: of one it always is."""
    rows = torch.unique(x.reshape(-1, x.shape[-1]), dim=0)
    if layer.bias is None or len(rows) < ROWS or not _fits(off - off[:1], off):
        return ""
    return "the residual is the same for every input: a multiple of the bias for each output"


def _factors(trial: Trial, layer: nn.Linear, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    if {"A", "B", "m"} <= values.keys():
        s = trial.probe.alpha / trial.probe.r
        norm = (layer.weight.detach() + s * values["B"] @ values["A"]).norm(dim=1)
        found["(m/|V| - 1)"] = values["m"] / norm - 1
    if "g" in values:
        found["(1 - g)"] = 1 - values["g"]
    return found


def _of_the_scale(trial: Trial, got: Tensor, want: Tensor, base: Tensor) -> str:
    mine, other = (t.reshape(base.shape) - base for t in (got, want))
    if not bool(other.any()):
        return ""
    c = ((mine * other).sum() / other.square().sum()).item()
    if not _fits(mine - c * other, other):
        return ""
    if abs(c) <= EXACTLY:
        return "the adapter changes nothing"
    r, alpha = trial.probe.r, trial.probe.alpha
    named = {"r/alpha": r / alpha, "alpha/r": alpha / r, "1/r": 1 / r, "r": r, "alpha": alpha, "1/alpha": 1 / alpha}
    named |= {"1/sqrt(r)": r**-0.5, "sqrt(r)": r**0.5, "-1": -1.0}
    word = next((name for name, value in named.items() if abs(c - value) <= EXACTLY * abs(value)), f"{c:.6g}")
    return f"the adapter's part is {word} times the reference's"
