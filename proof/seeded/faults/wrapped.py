"""Adapters that compute rightly when they are called plainly, and go wrong compiled, copied, cast or recomputed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.fault import Seeded
from proof.seeded.faults.lora import LoRAInParts
from variants.dora import DoRA
from variants.ia3 import IA3
from variants.lora import LoRA
from variants.runtime.adapter import row_norm
from variants.runtime.state import weight_of


class LoRALooksAtANumber(LoRA):
    """Leaves the branch out while B is zero, which it asks Python: a compiled model breaks off there."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.B.abs().max().item() == 0 and not torch.is_grad_enabled():
            return y
        return super().change_output(layer, x, y)


class LoRACompiledWithoutA(LoRAInParts):
    """Where it is compiled, A is taken for a constant: nothing breaks, and A gets no gradient."""

    def branch(self, dropped: Tensor) -> Tensor:
        A = self.A.detach() if torch.compiler.is_compiling() else self.A
        return F.linear(F.linear(dropped, A), self.B)


class LoRAMergesOnceForInference(LoRAInParts):
    """B A is made in the first call without gradients, and thrown away by train() alone."""

    product: Tensor | None = None

    def branch(self, dropped: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return super().branch(dropped)
        if self.product is None:
            self.product = self.B.detach() @ self.A.detach()
        return F.linear(dropped, self.product)

    def train(self, mode: bool = True) -> Self:
        self.product = None
        return super().train(mode)


class DoRATrustsTheVersion(DoRA):
    """|V| is kept as long as no tensor has a new version: a write through ``.data`` has none."""

    seen: Any = None
    kept_norm: Any = None

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        W, s = weight_of(layer), self.config.scale
        tensors = (W, self.A, self.B)
        if torch.is_grad_enabled() or self.seen != (seen := [(id(t), t._version) for t in tensors]):
            self.kept_norm = row_norm(W.detach().to(self.A.dtype) + s * self.B.detach() @ self.A.detach())
            self.seen = None if torch.is_grad_enabled() else seen
        b = 0 if layer.bias is None else layer.bias
        V = F.linear(x.to(self.A.dtype), W.to(self.A.dtype)) + s * F.linear(
            F.linear(x.to(self.A.dtype), self.A), self.B
        )
        return (b + self.m / self.kept_norm * V).to(y.dtype)


class IA3HoldsItsGate(IA3):
    """The gate is held a second time as a plain attribute: a parameter that is replaced is not seen."""

    held: tuple[Tensor, ...] = ()

    def hook(self, layer: nn.Module) -> None:
        self.held = (self.g,)
        super().hook(layer)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.held[0]).to(y.dtype)


class LoRABoundByAClosure(LoRA):
    """The hook is a closure: a deep copy keeps the closure, and so the original's tensors."""

    def hook(self, layer: nn.Module) -> None:
        def after(layer: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
            return self.change_output(layer, args[0], y)

        self._handles.append(layer.register_forward_hook(after))


class LoRASharedByCopies(LoRA):
    """A copy of the adapter shares its tensors: to train the copy is to train the original."""

    def __deepcopy__(self, memo: dict[int, Any]) -> LoRASharedByCopies:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


class LoRAWithALambda(LoRA):
    """A lambda among the attributes: it computes, and no pickle takes it."""

    def __init__(self, config: Any, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        self.scale: Callable[[], float] = lambda: config.scale


class LoRAPicklesItsStart(LoRA):
    """What is pickled are the tensors from when it was attached, not from when it was pickled."""

    start: Any = None

    def hook(self, layer: nn.Module) -> None:
        self.start = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        super().hook(layer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.load_state_dict(self.start)

    def __deepcopy__(self, memo: dict[int, Any]) -> LoRAPicklesItsStart:
        twin = memo[id(self)] = type(self).__new__(type(self))
        nn.Module.__setstate__(twin, copy.deepcopy(self.__dict__, memo))
        return twin


class IA3WidensUnderAutocast(IA3):
    """The output takes the dtype of x in place of y's: under autocast x is float32 and y is not."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y * self.g).to(x.dtype)


class LoRAAddsInPlace(LoRA):
    """An in-place product: autocast casts its factors, and nobody casts what it adds to."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        h = F.linear(F.dropout(x.to(self.A.dtype), self.config.dropout, self.training), self.A)
        wide = y.to(self.A.dtype, copy=True).reshape(-1, self.d_out)
        added = wide.addmm_(h.reshape(-1, len(self.A)), self.B.t(), alpha=self.config.scale)
        return added.reshape(y.shape).to(y.dtype)


class LoRADropsByItsOwnDice(LoRAInParts):
    """Dropout draws from a generator of its own, which nobody sets back when the forward runs again."""

    dice: torch.Generator | None = None

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        p, x = self.config.dropout, x.to(self.A.dtype)
        if p and self.training:
            if self.dice is None:
                self.dice = torch.Generator().manual_seed(11)
            x = x * (torch.rand(x.shape, generator=self.dice, dtype=x.dtype) >= p) / (1 - p)
        return (y + self.config.scale * self.branch(x)).to(y.dtype)


class IA3GrowsWithEachCall(IA3):
    """It counts its training calls, and warms up: a forward that runs again is another forward."""

    calls: int = 0

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        warm = 1 if self.calls < 2 else 1 + 1e-6 * self.calls
        return (y * self.g * warm).to(y.dtype)


class LoRADtypeFromItsBirth(LoRA):
    """x is cast to the dtype that the config named: the tensors may have moved to another since."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.config.torch_dtype), self.config.dropout, self.training)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


KILLER = "execution_modes"

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(LoRALooksAtANumber, "lora", KILLER, raises=True),
    Seeded(LoRACompiledWithoutA, "lora", KILLER),
    Seeded(LoRAMergesOnceForInference, "lora", KILLER),
    Seeded(DoRATrustsTheVersion, "dora", KILLER),
    Seeded(IA3HoldsItsGate, "ia3", KILLER),
    Seeded(LoRABoundByAClosure, "lora", KILLER),
    Seeded(LoRASharedByCopies, "lora", KILLER),
    Seeded(LoRAWithALambda, "lora", KILLER, raises=True),
    Seeded(LoRAPicklesItsStart, "lora", KILLER),
    Seeded(IA3WidensUnderAutocast, "ia3", KILLER),
    Seeded(LoRAAddsInPlace, "lora", KILLER, raises=True),
    Seeded(LoRADropsByItsOwnDice, "lora", KILLER),
    Seeded(IA3GrowsWithEachCall, "ia3", KILLER),
    Seeded(LoRADtypeFromItsBirth, "lora", KILLER, raises=True),
)
