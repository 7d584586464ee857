"""A variant and the live peft layer on copies of one base layer, with the same tensors in both."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from refs.reference import Method
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from variants import attach
from variants.runtime.config import AdapterConfig

LIMIT = 1e-12
"""Largest error in float64, relative to the largest number of the tensor."""


def linear(d_in: int = 12, d_out: int = 20, bias: bool = True, dtype: torch.dtype = torch.float64) -> nn.Linear:
    """A layer with random weights."""
    return nn.Linear(d_in, d_out, bias=bias).to(dtype)


def settings_of(config: AdapterConfig) -> Settings:
    """The config in neutral words."""
    plain = {"r", "alpha", "dtype", "targets"}
    options = tuple(sorted((key, value) for key, value in vars(config).items() if key not in plain))
    known: dict[str, Any] = {key: getattr(config, key) for key in ("r", "alpha", "dtype") if hasattr(config, key)}
    return Settings(**known, options=options)


def both(
    method: Method, config: AdapterConfig, layer: nn.Linear, calibration: Iterable[Tensor] | None = None
) -> tuple[Subject, Subject]:
    """The variant and the reference, each at its own start."""
    reference = method.main.build(copy.deepcopy(layer), settings_of(config))
    host = Host(copy.deepcopy(layer))
    (adapter,) = attach(host, config, calibration=calibration).layers.values()
    subject = Subject(host, host.layer, {n: (f"layer.adapter.{n}", AS_IS) for n in adapter.state_dict()})  # type: ignore[arg-type]
    return subject, reference


def pass_through(subject: Subject, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Output, gradient of the input and of every trainable tensor; dropout draws from a fixed seed."""
    for leaf in subject.leaves().values():
        leaf.grad = None
    x = x.detach().requires_grad_()
    torch.manual_seed(5)
    y = subject(x)
    y.backward(cotangent)
    assert x.grad is not None
    grads = {f"gradient of {name}": leaf.grad for name, leaf in subject.leaves().items() if leaf.grad is not None}
    return {"y": y.detach(), "gradient of x": x.grad, **grads}


def assert_close(got: Mapping[str, Tensor], want: Mapping[str, Tensor], limit: float = LIMIT) -> None:
    """The same names, and each tensor within ``limit`` of its largest number."""
    assert set(got) == set(want)
    for name, tensor in want.items():
        error = (got[name].double() - tensor.double()).abs().max().item()
        assert error <= limit * max(tensor.abs().max().item(), 1e-30), f"{name}: error {error}"


def assert_equals_peft(
    method: Method,
    config: AdapterConfig,
    layer: nn.Linear,
    batch: tuple[int, ...] = (5,),
    *,
    training: bool = False,
    calibration: Iterable[Tensor] | None = None,
) -> None:
    """Forward and gradients with peft's tensors in both, at its start and with every trainable tensor moved.

    Out of training also against the closed form.
    """
    subject, reference = both(method, config, layer, calibration)
    assert set(reference.leaves()) == set(subject.leaves())
    x, cotangent = (torch.randn(*batch, n, dtype=torch.float64) for n in (layer.in_features, layer.out_features))
    for side in (subject, reference):
        side.train(training)
    for moved in (False, True):
        values = reference.values()
        if moved:
            values = {k: v + 0.5 * torch.randn_like(v) if k in reference.leaves() else v for k, v in values.items()}
        for side in (subject, reference):
            side.load(values)
        with torch.no_grad():
            subject.base.weight.copy_(reference.base.weight)
        got = pass_through(subject, x, cotangent)
        assert_close(got, pass_through(reference, x, cotangent))
        if not training:
            assert_close({"y": got["y"]}, {"y": closed(method, config, subject, x)})


def closed(method: Method, config: AdapterConfig, subject: Subject, x: Tensor) -> Tensor:
    """What the closed form makes of the subject's tensors and of the weight in its layer."""
    assert method.closed is not None
    base = subject.base
    b = torch.zeros(base.out_features) if base.bias is None else base.bias.detach()
    tensors = {name: value.double().numpy() for name, value in subject.values().items()}
    W, b = base.weight.detach().double(), b.double()
    weight, bias = method.closed.effective(tensors, W.numpy(), b.numpy(), settings_of(config))
    return x @ torch.from_numpy(weight).T + torch.from_numpy(bias)


def flow(subject: Subject) -> dict[str, str]:
    """``dead`` or ``live`` (and which share is) per trainable tensor, under a random cotangent."""
    x = torch.randn(7, subject.base.in_features, dtype=subject.base.weight.dtype)
    grads = pass_through(subject, x, torch.randn(7, subject.base.out_features, dtype=x.dtype))
    shares = {name: (grads[f"gradient of {name}"] != 0).double().mean().item() for name in subject.leaves()}
    return {name: {0.0: "dead", 1.0: "live"}.get(share, f"{share:.0%} live") for name, share in shares.items()}
