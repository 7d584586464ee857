"""The uniform handle on one adapted linear layer, whoever wrote it: call it, see its tensors, load tensors into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class View:
    """How a tensor as stored reads under the formula's name, and back.

    ``linear``: how its gradient reads, where ``read`` also adds a constant.
    """

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, torch.Size], Tensor]
    linear: Callable[[Tensor], Tensor] | None = None

    def gradient(self, grad: Tensor) -> Tensor:
        """The gradient of the tensor under the formula's name."""
        return (self.linear or self.read)(grad)


def shifted(by: float) -> View:
    """A tensor that is stored as the formula's less ``by``: g is stored as g - 1 with ``shifted(1)``."""
    return View(lambda t: t + by, lambda t, shape: (t - by).reshape(shape), lambda t: t)


AS_IS = View(lambda t: t, lambda t, shape: t)
TRANSPOSED = View(lambda t: t.T, lambda t, shape: t.T)
NEGATED = View(lambda t: -t, lambda t, shape: -t)
FLAT = View(lambda t: t.reshape(-1), lambda t, shape: t.reshape(shape))


@dataclass(frozen=True)
class Slot:
    """One tensor of a subject as the harness sees it."""

    value: Tensor
    grad: Tensor | None
    trainable: bool
    kind: str
    """``parameter``, ``buffer``, or ``plain`` for a tensor that the module does not register."""


def _transposed(layer: nn.Module) -> bool:
    """Whether it is a Conv1D of transformers, which is not imported for that; any other layer keeps (d_out, d_in)."""
    return any(kind.__name__ == "Conv1D" for kind in type(layer).__mro__)


@dataclass
class Subject:
    """An adapted layer: ``host`` is called, ``base`` is the plain linear layer underneath.

    ``names`` maps the formula's name of a tensor to its dotted path in ``host`` and its view. Whatever else the host
    registers beside the base shows up under its own path, so that a tensor nobody named is seen.
    """

    host: nn.Module
    base: nn.Linear
    names: Mapping[str, tuple[str, View]] = field(default_factory=dict)
    bookkeeping: tuple[str, ...] = ()
    """Patterns of paths in ``host`` of buffers that are no tensors of the formula."""

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.host(x)
        return y

    @property
    def weight(self) -> Tensor:
        """What is in the layer, ``(d_out, d_in)``, whichever way the layer stores it: a view to read and write."""
        stored = self.base.weight.detach()
        return stored.T if _transposed(self.base) else stored

    def train(self, mode: bool = True) -> None:
        """Training mode on or off."""
        self.host.train(mode)

    def slots(self) -> dict[str, Slot]:
        """Every tensor of the adapter by its formula's name."""
        return {name: _slot(tensor, view, kind) for name, tensor, view, kind in self._found()}

    def stored(self) -> dict[str, Tensor]:
        """The tensors themselves, as stored, by the same names."""
        return {name: tensor for name, tensor, _, _ in self._found()}

    def _found(self) -> Iterator[tuple[str, Tensor, View, str]]:
        """Name, tensor, view and kind of each tensor of the adapter."""
        parameters = dict(self.host.named_parameters())
        buffers = dict(self.host.named_buffers())
        of_base = {id(t) for t in (self.base.weight, self.base.bias) if t is not None}
        named = {path: (name, view) for name, (path, view) in self.names.items()}
        for path, (name, view) in named.items():
            tensor = _at(self.host, path)
            if isinstance(tensor, Tensor):
                kind = "parameter" if path in parameters else "buffer" if path in buffers else "plain"
                yield name, tensor, view, kind
        for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
            for path, tensor in tensors.items():
                ignored = kind == "buffer" and any(fnmatchcase(path, pattern) for pattern in self.bookkeeping)
                if path not in named and id(tensor) not in of_base and not ignored:
                    yield path, tensor, AS_IS, kind

    def values(self) -> dict[str, Tensor]:
        """Copies of the tensors by name."""
        return {name: slot.value.clone() for name, slot in self.slots().items()}

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Copy values in, cast to each tensor's own dtype. KeyError for a name this subject does not have."""
        with torch.no_grad():
            for name, value in values.items():
                path, view = self.names[name]
                tensor = _at(self.host, path)
                if not isinstance(tensor, Tensor):
                    raise KeyError(f"no tensor {name} at {path}")
                tensor.copy_(view.write(value, tensor.shape))

    def kept(self, values: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """The values as this subject would store them in ``dtype``, read back in float64; others rounded to it."""
        found = {name: value.to(dtype).double() for name, value in values.items()}
        for name, (path, view) in self.names.items():
            if name in found and isinstance(tensor := _at(self.host, path), Tensor):
                found[name] = view.read(view.write(values[name].double(), tensor.shape).to(dtype).double())
        return found

    def base_parameters(self) -> dict[str, Tensor]:
        """The base layer's parameters, without tensors of the adapter that some code keeps on the layer itself."""
        own = {id(tensor) for tensor in self.leaves().values()}
        return {name: p for name, p in self.base.named_parameters(recurse=False) if id(p) not in own}

    def leaves(self) -> dict[str, Tensor]:
        """The trainable tensors themselves, as stored, by name."""
        return {
            name: tensor
            for name, (path, _) in self.names.items()
            if isinstance(tensor := _at(self.host, path), Tensor) and tensor.requires_grad
        }


class Host(nn.Module):
    """The smallest model there is: one layer called ``layer``. A mask is for calibration; the layer needs none."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def _at(module: nn.Module, path: str) -> Any:
    thing: Any = module
    for part in path.split("."):
        thing = getattr(thing, part, None)
    return thing


def _slot(tensor: Tensor, view: View, kind: str) -> Slot:
    grad = None if tensor.grad is None else view.gradient(tensor.grad.detach())
    return Slot(view.read(tensor.detach()), grad, tensor.requires_grad, kind)
