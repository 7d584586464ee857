"""Is the base model restored, bit for bit, when the adapter is detached after training?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.measuring.compare import Comparison, close, conclude, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Dtypes and option sets, once per entry that can detach."""
    can = entry.lifecycle is not None and entry.lifecycle.detach is not None
    if not can or entry.method is None or reference is not entry.method.main:
        return ()
    default = replace(WIDE, adapter=None)
    return (
        SMALL,
        replace(SMALL, bias=False, training=True),
        *(replace(default, dtype=dtype) for dtype in ("float32", "bfloat16", "float16")),
        *with_options(entry, replace(default, dtype="float32")),
    )


def run(trial: Trial) -> Finding:
    """Train, detach, and compare the layer with what it was, bit for bit."""
    assert trial.entry.lifecycle is not None
    assert trial.entry.lifecycle.detach is not None
    layer = trial.layer()
    if layer.bias is not None:
        layer.bias.requires_grad_(False)  # as a user may have it: not everything was trainable before
    tensors, shape = _tensors(layer), _shape(layer)
    y = layer(trial.x).detach()
    subject = trial.subject(layer)
    values = trial.state(subject)
    values.pop(RESIDUAL, None)
    with asking_the_subject():
        subject.load(values)
        run_pass(subject, trial.x, trial.cotangent)
        trial.entry.lifecycle.detach(subject)
        left = subject.host
    base = next((m for m in left.modules() if isinstance(m, nn.Linear)), nn.Linear(1, 1))
    return conclude(trial.case, _compared(trial, base, tensors, shape, y))


def _compared(
    trial: Trial, base: nn.Linear, tensors: dict[str, Tensor], shape: dict[str, object], y: Tensor
) -> Iterator[Comparison]:
    now = _tensors(base)
    yield same(sorted(now), sorted(tensors), "tensors left")
    for name, tensor in tensors.items():
        yield close(now.get(name), tensor, f"{name} left", scale=0.0)
    for what, want in shape.items():
        yield same(_shape(base)[what], want, what)
    with torch.no_grad():
        yield close(base(trial.x), y, "output after detaching", scale=0.0)


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}


def _shape(layer: nn.Module) -> dict[str, object]:
    """Whatever else an adapter may leave behind."""
    return {
        "type": type(layer).__name__,
        "submodules": sorted(name for name, _ in layer.named_modules()),
        "trainable": sorted(name for name, p in layer.named_parameters() if p.requires_grad),
        "hooks": len(layer._forward_hooks) + len(layer._forward_pre_hooks) + len(layer._backward_hooks),
        "attributes": sorted(name for name in layer.__dict__ if not name.startswith("__")),
    }
