"""Where layer and tensors are both in half precision: what a method that computes in float32 has to round, and no more.

A reference that computes in half precision there is no measure for it: beside that, any loss of digits agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from conformance.measuring.compare import Comparison, rounded_once
from conformance.measuring.trial import RESIDUAL, Run, Trial
from conformance.nouns.entry import Entry
from conformance.nouns.probe import Probe

PROMISED = "float32 inside"
"""Among an entry's invariants: it computes in float32 at least, whatever its tensors and the layer are in."""
HALF = ("bfloat16", "float16")


def whole_spectrum(entry: Entry, probe: Probe) -> tuple[Probe, ...]:
    """Of a method that takes directions of the weight over: the probe in half precision throughout, with all of them.
    Next to nothing is left in the layer then, whose rounding would hide that of what is computed.
    """
    if PROMISED not in entry.invariants or entry.method is None or not entry.method.replaces_weight:
        return ()
    return tuple(replace(probe, r=min(probe.d_in, probe.d_out), dtype=dtype, adapter=dtype) for dtype in HALF)


def within_one_rounding(trial: Trial, values: Mapping[str, Tensor], got: Run, truth: Run) -> Iterator[Comparison]:
    """Each result beside the truth that is rounded where it cannot be helped: in the layer itself, and at the end."""
    p = trial.probe
    if PROMISED not in trial.entry.invariants or p.dtype not in HALF or p.adapter != p.dtype or trial.drops:
        return
    y, grad_x = _of_the_layer(trial, values)
    yield rounded_once(got.y, _sum(y, truth.y, once=False), truth.y, "output, rounded once")
    if got.grad_x is not None and truth.grad_x is not None:
        once = _sum(grad_x, truth.grad_x, once=True)  # each way's gradient has the dtype of x before they are added
        yield rounded_once(got.grad_x, once, truth.grad_x, "gradient of x, rounded once")
    for name, exact in truth.grads.items():
        own = got.grads.get(name)
        if own is not None and exact is not None:
            yield rounded_once(own, exact.to(own.dtype), exact, f"gradient of {name}, rounded once")


def _sum(of_the_layer: tuple[Tensor, Tensor], whole: Tensor, *, once: bool) -> Tensor:
    """The layer's own result, rounded, and the rest of the whole; ``once``: rounded too before it is added."""
    got, exact = of_the_layer
    rest = whole - exact
    return (got.double() + (rest.to(got.dtype).double() if once else rest)).to(got.dtype)


def _of_the_layer(trial: Trial, values: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Output and gradient of the input of the layer alone: in its dtype, and in float64."""
    runs = []
    for dtype in (trial.probe.dtype, "float64"):
        layer = trial.layer(dtype)
        if RESIDUAL in values:
            layer.weight.data.copy_(values[RESIDUAL])
        x = trial.x.detach().to(layer.weight.dtype).requires_grad_()
        y = layer(x)
        y.backward(trial.cotangent.to(y.dtype))
        assert x.grad is not None
        runs.append((y.detach(), x.grad))
    return list(zip(*runs))
