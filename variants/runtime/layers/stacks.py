"""Weights that are stacked in one parameter of three dimensions, such as the experts of transformers' Mixtral.

    P: (n, d_out, d_in)     or (n, d_in, d_out), where the module says ``is_transposed``

The module indexes its parameter and calls no layer, so there is nothing to hook. ``Stack`` stands for one such
parameter: it says how many features go in and out, and while it has an adapter it is a child of the module, called
``adapted_<parameter>``, so that the adapter moves, copies and is saved with the model. transformers is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

DIMENSIONS = 3


class Stack(nn.Module):
    """The parameter ``parameter`` of ``owner`` as n weights. It owns no tensor itself and is never called."""

    owner: nn.Module

    def __init__(self, owner: nn.Module, parameter: str) -> None:
        super().__init__()
        self.__dict__["owner"] = owner  # which holds the stack: no child of it
        self.parameter = parameter
        self.transposed = bool(getattr(owner, "is_transposed", False))
        self.n, self.out_features, self.in_features = self.weight.shape

    @property
    def stored(self) -> nn.Parameter:
        """The parameter as the module has it."""
        found = self.owner._parameters[self.parameter]
        assert found is not None
        return found

    @property
    def weight(self) -> Tensor:
        """``(n, d_out, d_in)``; where the module stores it transposed, a view through which it can be written."""
        return self.stored.transpose(1, 2) if self.transposed else self.stored

    @property
    def child(self) -> str:
        """Under which name the owner holds it."""
        return f"adapted_{self.parameter}"

    def mount(self) -> None:
        """Become a child of the owner, if it is none yet."""
        if self.owner._modules.get(self.child) is not self:
            self.owner.add_module(self.child, self)

    def unmount(self) -> None:
        """Undo ``mount``."""
        self.owner._modules.pop(self.child, None)


def stack_of(owner: nn.Module, parameter: str) -> Stack:
    """The stack that is there for this parameter, or a new one that the owner does not hold yet."""
    there = owner._modules.get(f"adapted_{parameter}")
    return there if isinstance(there, Stack) else Stack(owner, parameter)


def stacks_in(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, module and parameter of everything in ``model`` that an adapter for stacked weights could go on."""
    for name, module in model.named_modules():
        for parameter, tensor in module._parameters.items():
            if tensor is not None and tensor.dim() == DIMENSIONS and not _is_convolution(module):
                yield f"{name}.{parameter}".lstrip("."), module, parameter


def module_at(model: nn.Module, target: str) -> nn.Module:
    """The layer of this name, or the stack of the parameter of this name."""
    owner, _, parameter = target.rpartition(".")
    holder = model.get_submodule(owner)
    tensor = holder._parameters.get(parameter)
    return model.get_submodule(target) if tensor is None else stack_of(holder, parameter)


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)
