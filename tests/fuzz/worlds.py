"""What the fuzz draws from: odd models, configs, values of any type, and the promise that every call is held to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrizations, parametrize

from tests.runtime.models import Quantised, snapshot
from variants import VARIANTS, AdapterError, Targets, config_for
from variants.runtime.config import AdapterConfig

NAMES = tuple(variant.name for variant in VARIANTS)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
CHILD_NAMES = ("a", "q_proj", "down", "0", "(", "a[0]*", "*", "ü", " ", "[!a]", "layers", "\N{SNOWMAN}", "a|b", "^a$")

FEW = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
"""The same examples in every run."""


class Subclassed(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        """The usual, the long way."""
        y = input @ self.weight.T
        return y if self.bias is None else y + self.bias


def _plain(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
    return nn.Linear(d_in, d_out, bias=bias, dtype=dtype)


def _with_weight(change: Callable[[Tensor], Tensor]) -> Callable[[int, int, torch.dtype, bool], nn.Module]:
    def make(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
        layer = nn.Linear(d_in, d_out, bias=bias, dtype=dtype)
        weight = change(layer.weight.detach())
        layer.weight = nn.Parameter(weight, requires_grad=weight.is_floating_point())
        return layer

    return make


def _with_entry(value: float) -> Callable[[int, int, torch.dtype, bool], nn.Module]:
    return _with_weight(lambda W: W.flatten().index_fill(0, torch.tensor(0), value).view_as(W))


def _in_inference_mode(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(d_in, d_out, bias=bias, dtype=dtype)


def _frozen(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
    return _plain(d_in, d_out, dtype, bias).requires_grad_(False)


def _old_weight_norm(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        made: nn.Module = nn.utils.weight_norm(_plain(d_in, d_out, dtype, bias))
    return made


class Halved(nn.Module):
    """A parametrization."""

    def forward(self, W: Tensor) -> Tensor:
        """Half."""
        return W / 2


def _parametrized(d_in: int, d_out: int, dtype: torch.dtype, bias: bool) -> nn.Module:
    layer = _plain(d_in, d_out, dtype, bias)
    parametrize.register_parametrization(layer, "weight", Halved())
    return layer


LAYERS: dict[str, Callable[[int, int, torch.dtype, bool], nn.Module]] = {
    "plain": _plain,
    "subclass": lambda d_in, d_out, dtype, bias: Subclassed(d_in, d_out, bias=bias, dtype=dtype),
    "not quantizable": lambda d_in, d_out, dtype, bias: NonDynamicallyQuantizableLinear(d_in, d_out, bias, dtype=dtype),
    "quantised": lambda d_in, d_out, dtype, bias: Quantised(d_in, d_out),
    "transposed": _with_weight(lambda W: W.T.contiguous().T),
    "strided": _with_weight(lambda W: torch.stack((W, W), -1)[..., 0]),
    "expanded": _with_weight(lambda W: W[:1].expand_as(W)),
    "zero": _with_weight(torch.zeros_like),
    "rank one": _with_weight(lambda W: torch.ones_like(W)),
    "tiny": _with_weight(lambda W: W * 1e-30),
    "large": _with_weight(lambda W: W * 1e4),
    "nan": _with_entry(torch.nan),
    "infinity": _with_entry(-torch.inf),
    "complex": _with_weight(lambda W: torch.complex(W.float(), W.float())),
    "whole numbers": _with_weight(lambda W: (9 * W).to(torch.int32)),
    "8-bit floats": _with_weight(lambda W: W.to(torch.float8_e4m3fn)),
    "meta": lambda d_in, d_out, dtype, bias: _plain(d_in, d_out, dtype, bias).to("meta"),
    "lazy": lambda d_in, d_out, dtype, bias: nn.LazyLinear(d_out, dtype=dtype),
    "inference": _in_inference_mode,
    "frozen": _frozen,
    "weight norm": lambda d_in, d_out, dtype, bias: parametrizations.weight_norm(_plain(d_in, d_out, dtype, bias)),
    "old weight norm": _old_weight_norm,
    "parametrized": _parametrized,
    "no linear layer": lambda d_in, d_out, dtype, bias: nn.LayerNorm(d_in, dtype=dtype),
    "bilinear": lambda d_in, d_out, dtype, bias: nn.Bilinear(d_in, d_in, d_out),
    "conv": lambda d_in, d_out, dtype, bias: nn.Conv1d(d_in, d_out, 1, dtype=dtype),
}
ORDINARY = ("plain", "subclass", "not quantizable", "transposed", "strided", "frozen", "zero", "rank one", "large")

sizes = st.sampled_from((1, 2, 3, 4, 5, 8))


class Chain(nn.Module):
    """Layers of any names, each called with an input of its own size; nothing has to fit."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """``x: (n, 8)``, cut to each layer's width."""
        return [
            layer(x[:, : layer.in_features].to(layer.weight.dtype, copy=True, memory_format=torch.contiguous_format))
            for layer in self.children()
            if isinstance(layer, nn.Linear)
        ]


@st.composite
def models(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(LAYERS)) -> nn.Module:
    """One to three layers of these kinds, of any size and dtype; one tied to another now and then."""
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(DTYPES))
    layers = {
        name: LAYERS[draw(st.sampled_from(kinds))](draw(sizes), draw(sizes), dtype, draw(st.booleans()))
        for name in draw(st.lists(st.sampled_from(CHILD_NAMES), min_size=1, max_size=3, unique=True))
    }
    first = next(iter(layers.values()))
    if draw(st.integers(0, 5)) == 0 and type(first) is nn.Linear and isinstance(first.weight, nn.Parameter):
        layers["tied"] = nn.Linear(first.in_features, first.out_features, dtype=dtype)
        same = draw(st.booleans()) or first.weight.is_inference()
        W = first.weight
        layers["tied"].weight = W if same else nn.Parameter(W.detach(), requires_grad=W.is_floating_point())
    return Chain(layers).train(draw(st.booleans()))


GOOD: dict[str, st.SearchStrategy[Any]] = {
    "r": st.sampled_from((1, 2, 2, 3, 4, 8, 9)),
    "alpha": st.sampled_from((1, 2.5, 8.0, 1e-3)),
    "dropout": st.sampled_from((0.0, 0.0, 0.5)),
    "dtype": st.sampled_from(("float32", "float32", "float64", torch.bfloat16, "float16")),
    "rslora": st.booleans(),
    "group_size": st.sampled_from((2, 2, 4)),
    "block_size": st.sampled_from((2, 4)),
    "block": st.sampled_from((1, 2)),
    "kind": st.sampled_from(("road_1", "road_2", "road_4")),
    "niter": st.sampled_from((None, 0, 2)),
    "k": st.sampled_from((1, 2)),
    "gram_schmidt": st.booleans(),
    "frozen_copies": st.booleans(),
    "coeff": st.sampled_from((1.0, 0, -1, 0.5)),
}
# fmt: off
FITTING = {
    "antipasto_arrow": {"r": 2, "block": 1},
    "antipasto_rot": {"r": 2, "block_size": 2},
    "hra": {"r": 2},
    "road": {"group_size": 2},
}
# fmt: off
ANYTHING: st.SearchStrategy[Any] = st.sampled_from((
    None, True, False, 0, -1, 3, 2**40, 10**400, 0.5, -0.0, 1e-300, 1e300, float("nan"), float("inf"), 1j,
    "", "float32", "none", "\ud800", "a.b[0]*", "(", b"bytes", "complex64", "int8", torch.int8, torch.complex64,
    (), [], {}, set(), [1], {"a": 1}, (None,), object(), int, nn.Linear, np.int64(2), np.float32(1), np.float64(2),
    np.array([1, 2]), np.array(["a", "b"]), torch.tensor(2), torch.ones(2, 2), Targets(), lambda *_: None,
))
# fmt: on
"""Values that no option takes, and some that some do."""


def options_of(name: str) -> list[str]:
    """The fields of the named method's config but the targets."""
    config = next(variant.Config for variant in VARIANTS if variant.name == name)
    return [field.name for field in fields(config) if field.name != "targets"]


@st.composite
def configs(draw: st.DrawFn, names: tuple[str, ...] = NAMES, targets: Targets | None = None) -> AdapterConfig:
    """A config that can be made; whether it suits a model is another matter."""
    name = draw(st.sampled_from(names))
    known = [option for option in options_of(name) if option in GOOD]
    chosen = {option: draw(GOOD[option]) for option in known if option in ("r", "group_size", "block_size", "block")}
    chosen |= {option: draw(GOOD[option]) for option in known if option not in chosen and draw(st.booleans())}
    try:
        return config_for(name, targets=targets or Targets(), **chosen)
    except AdapterError:  # a combination that the method refuses
        return config_for(name, targets=targets or Targets(), **FITTING.get(name, {"r": 2}))


def state(model: nn.Module) -> dict[str, object]:
    """``snapshot``, and what it does not see: who shares memory with whom, and gradients."""
    if any(isinstance(m, nn.LazyLinear) for m in model.modules()):  # whose weight has no bytes yet
        return {"modules": [(n, type(m), m.training, list(m._modules)) for n, m in model.named_modules()]}
    objects = [(name, id(p), p._version if not p.is_inference() else 0) for name, p in model.named_parameters()]
    grads = {name: p.grad is None for name, p in model.named_parameters()}
    return {**snapshot(model), "objects": [each[:2] for each in objects], "grads": grads}


@contextmanager
def works_or_refuses(model: nn.Module) -> Iterator[list[AdapterError]]:
    """The block works, or raises an ``AdapterError`` and leaves the model as it was. The error is put into the list."""
    before = state(model)
    refusals: list[AdapterError] = []
    with warnings.catch_warnings(action="ignore"):
        try:
            yield refusals
            return
        except AdapterError as error:
            refusals.append(error)
    after, told = state(model), refusals[0]
    changed = [part for part in before if before[part] != after[part]]
    assert not changed, f"{changed} changed by a call that failed: {told}"
    assert told.got, "an error that does not say what happened"
    assert told.where, "an error that does not say where"


def outcome(call: Callable[[], Any]) -> Any:
    """What ``call`` returns, or the ``AdapterError`` that it raises."""
    try:
        return call()
    except AdapterError as error:
        return error
