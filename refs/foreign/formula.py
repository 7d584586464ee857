"""A closed form from a formula in torch: NumPy float64 for the value, automatic differentiation for the gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from refs.reference import Array, ClosedForm, Options
from refs.settings import Settings

Formula = Callable[[Mapping[str, Tensor], Tensor, Tensor, Settings], "Tensor | tuple[Tensor, Tensor]"]
"""``(tensors, W, b, settings)`` -> W', or W' and b', in float64: y' = x W'^T + b'."""

Start = Callable[[Tensor, Settings], Mapping[str, Tensor]]
"""``(W, settings)`` -> every tensor of the formula as it starts; random ones from torch's generator."""


def formula(
    name: str, effective: Formula, start: Start, math: str, *, frozen: tuple[str, ...] = (), options: Options = ()
) -> ClosedForm:
    """The closed form ``closed:NAME`` of a formula in torch, for a method of one's own.

    ``effective(tensors, W, b, settings)`` gives W' of shape (d_out, d_in), or W' and b', out of differentiable torch
    operations; W and b are those of the layer, b zero where it has none. ``start(W, settings)`` gives all tensors at
    their start: names, shapes, constants and distributions are taken from it. ``frozen``: those that do not train.
    ``math``: the formula for the card. TypeError or ValueError, where it is asked, for what is no W' of that shape.
    """

    def value(t: Mapping[str, Tensor], W: Tensor, b: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
        made = effective(t, W, b, settings)
        weight, bias = made if isinstance(made, tuple) else (made, b)
        for got, want, what in ((weight, W, "W'"), (bias, b, "b'")):
            if not isinstance(got, Tensor):
                raise TypeError(f"formula {name}: got a {type(got).__name__} for {what}, want a tensor. Return W', b'.")
            if got.shape != want.shape:
                shapes = f"{tuple(got.shape)} for {what}, want {tuple(want.shape)}"
                raise ValueError(f"formula {name}: got shape {shapes}. W is (d_out, d_in), and y' = x W'^T + b'.")
        return weight, bias

    def in_numpy(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
        with torch.no_grad():
            weight, bias = value({n: _wide(v) for n, v in t.items()}, _wide(W), _wide(b), settings)
        return weight.numpy(), bias.numpy()

    def pullback(
        t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array
    ) -> dict[str, Array]:
        leaves = {n: _wide(v).requires_grad_(n not in frozen) for n, v in t.items()}
        trained = {n: v for n, v in leaves.items() if n not in frozen}
        with torch.enable_grad():
            weight, bias = value(leaves, _wide(W), _wide(b), settings)
            loss = (weight * _wide(G)).sum() + (bias * _wide(h)).sum()
        if not loss.requires_grad:
            return {n: np.zeros(v.shape) for n, v in trained.items()}
        grads = torch.autograd.grad(loss, list(trained.values()), allow_unused=True, materialize_grads=True)
        return {n: g.numpy() for n, g in zip(trained, grads)}

    def draw(rng: np.random.Generator, W: Array, settings: Settings) -> dict[str, Array]:
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(int(rng.integers(2**31)))
            return {n: v.detach().double().numpy() for n, v in start(_wide(W), settings).items()}

    return ClosedForm(f"closed:{name}", in_numpy, math, options=options, draw=draw, pullback=pullback, frozen=frozen)


def _wide(array: Array) -> Tensor:
    """A copy, so that a formula that writes into its arguments changes nobody else's."""
    return torch.from_numpy(np.array(array, dtype=np.float64))
