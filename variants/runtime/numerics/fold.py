"""What a layer and its adapter amount to: one weight and one bias."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from variants.runtime.errors import AdapterError
from variants.runtime.layers.numbers import numbers_of

ROWS = 256
"""How many rows of the unit matrix go through at a time: the memory needed beside the weight's own."""
LINEAR = 1e-9
"""How far the output of an affine function may be from W' x + b' in float64, relative to |W'| |x| + |b'|."""


class Hooked(Protocol):
    """What can be put on a layer to change what it computes, and taken off again."""

    name: ClassVar[str]
    d_in: int
    d_out: int

    def hook(self, layer: nn.Module) -> None:
        """Start changing what ``layer`` computes."""

    def unhook(self) -> None:
        """Stop."""


def fold(twin: Hooked, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """``W': (d_out, d_in)`` and ``b': (d_out,)`` with y' = W' x + b', in float64.

    ``twin``: a copy of the layer's adapter in float64 and in eval mode, hooked to nothing. It is put on a float64 copy
    of the layer: b' is the output at zero, W' the outputs of the layer without its bias at the unit vectors. Nothing
    is subtracted, so nothing cancels. A unit vector that reaches the layer as it is needs no product: its output is a
    column of W. Raises ``AdapterError`` if the adapter's effect is no change of weight and bias.
    """
    weight = numbers_of(layer)
    bias: Tensor | None = getattr(layer, "bias", None)
    d_in, d_out = twin.d_in, twin.d_out
    with torch.no_grad():
        plain = _Plain(d_in, d_out, bias=False, dtype=torch.float64, device=weight.device)
        plain.weight.copy_(weight)
        columns = _through(twin, plain, _unit_rows(d_in, plain))
        whole: nn.Linear = plain
        if bias is not None:
            whole = nn.Linear(d_in, d_out, dtype=torch.float64, device=weight.device)
            whole.weight.copy_(weight)
            whole.bias.copy_(bias)
        x = torch.linspace(-1, 1, d_in, dtype=torch.float64, device=weight.device)
        at_zero, at_x = _through(twin, whole, [torch.stack([0 * x, x])])
    gap = (at_x - at_zero - x @ columns).abs().max()
    if not bool(gap <= LINEAR * ((x.abs() @ columns.abs()).max() + at_zero.abs().max())):
        raise AdapterError(
            got=f"an output {float(gap):.2g} away from W' x + b'",
            want="an adapter that changes only weight and bias",
            where=f"merge of {twin.name}",
            fix="Leave this adapter unmerged.",
        )
    return columns.T, at_zero


class _Plain(nn.Linear):
    """A linear layer that looks up the outputs at unit vectors, where no adapter has changed these on their way."""

    start = 0
    rows: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.rows is not None and torch.equal(input, self.rows):
            return self.weight.T[self.start : self.start + len(input)].contiguous()
        return super().forward(input)


def _unit_rows(d_in: int, layer: _Plain) -> Iterator[Tensor]:
    eye = torch.eye(min(ROWS, d_in), d_in, dtype=torch.float64, device=layer.weight.device)
    for start in range(0, d_in, ROWS):
        rows = eye.roll(start, dims=1)[: d_in - start]
        layer.start, layer.rows = start, rows
        yield rows


def _through(twin: Hooked, layer: nn.Linear, batches: Iterable[Tensor]) -> Tensor:
    twin.hook(layer)
    try:
        return torch.cat([layer(rows) for rows in batches])
    finally:
        twin.unhook()
