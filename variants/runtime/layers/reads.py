"""Which layers a model only reads: it uses ``layer.weight`` itself and does not call the layer, so no adapter acts.

transformers' Mamba does so with ``dt_proj``, torch's MultiheadAttention with ``out_proj``. Two ways to find out:

- from the source, without running anything: the methods that ``forward`` of the layer's parent reaches mention
  ``self.<layer>.weight``, or ``self.<layer>`` in any other way (a call). Which branch is taken is not known: a layer
  that is read here and called there is *partly* read.
- from running a batch that the user gives (``sample``), in both modes: exact for that batch. An operation that gets
  the weight while the layer's own ``forward`` is not running has read it.

A parent whose source is not there, or which finds its layers by computed names, is only seen through by a sample.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from variants.runtime.layers.run import run_as_it_is
from variants.runtime.layers.stacks import Stack

ABOUT = frozenset(
    "dtype device shape ndim size dim numel is_cuda is_meta requires_grad data_ptr stride layout grad".split()
)
"""What tells about a tensor without using its numbers."""
OF_LAYER = frozenset("weight bias in_features out_features".split())
"""Attributes of a layer through which it is not called."""


@dataclass(frozen=True)
class Read:
    """Where others read a layer's weight (empty: nowhere), and whether the layer is called as well."""

    where: str
    called: bool

    @property
    def reason(self) -> str:
        """For the report and for errors."""
        if not self.where:
            return "the sample does not call it"
        if self.called:
            return f"{self.where} reads its weight on one path and calls it on another"
        return f"{self.where} reads its weight and never calls it: an adapter there would do nothing"


def read_by_source(model: nn.Module, targets: Mapping[str, nn.Module]) -> dict[str, Read]:
    """The targets that their parents' source says are read, only or partly. Nothing is run."""
    found = {}
    for name in targets:
        parent, _, child = name.rpartition(".")
        if not child or not name:
            continue
        kind: Any = type(model.get_submodule(parent))
        uses = uses_of(kind, child)
        if uses is not None:
            found[name] = uses
    return found


def read_in(model: nn.Module, targets: Mapping[str, nn.Module], sample: Any) -> dict[str, Read]:
    """The targets whose weight an operation uses outside of their own forward, or that are not called, in two runs.

    The model runs once in eval and once in training mode (Mamba reads other weights there), without gradients, and it
    is left as it was, random states included. ``AdapterError`` if the sample does not fit.
    """
    watch = _Watch({id(_stored(layer)): name for name, layer in targets.items()})
    # What is done around a call of the model, such as looking whether a layer has been repacked, is not the model's.
    handles: list[RemovableHandle] = [
        model.register_forward_pre_hook(watch.switched(True), prepend=True),
        model.register_forward_hook(watch.switched(False), always_call=True),
    ]
    for name, target in targets.items():
        layer = target.owner if isinstance(target, Stack) else target  # which uses the parameter itself
        handles.append(layer.register_forward_pre_hook(watch.entering(name), prepend=True))
        handles.append(layer.register_forward_hook(watch.leaving(name), always_call=True))
    try:
        with watch:
            run_as_it_is(model, [sample], "sample")
            run_as_it_is(model, [sample], "sample", training=True)
    finally:
        for handle in handles:
            handle.remove()
    idle = {name: Read("", False) for name in targets if name not in watch.called | watch.read.keys()}
    return idle | {name: Read(f"the model ({how})", name in watch.called) for name, how in watch.read.items()}


def _stored(layer: nn.Module) -> object:
    return layer.stored if isinstance(layer, Stack) else layer.weight


class _Watch(TorchFunctionMode):
    """Sees every operation on a tensor, and says which weights it got while their layer was not running."""

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()
        self.weights = weights
        self.on = False
        self.running: dict[str, int] = {}
        self.called: set[str] = set()
        self.read: dict[str, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.on and not _tells(func):
            for each in _flat((args, kwargs)):
                name = self.weights.get(id(each))
                if name is not None and not self.running.get(name):
                    self.read.setdefault(name, resolve_name(func) or getattr(func, "__name__", "an operation"))
        return func(*args, **kwargs)

    def switched(self, on: bool) -> Callable[..., None]:
        """A hook of the whole model."""

        def switch(*_: object) -> None:
            self.on = on

        return switch

    def entering(self, name: str) -> Callable[..., None]:
        """A pre-hook."""

        def enter(*_: object) -> None:
            self.running[name] = self.running.get(name, 0) + 1
            self.called.add(name)

        return enter

    def leaving(self, name: str) -> Callable[..., None]:
        """A hook."""

        def leave(*_: object) -> None:
            self.running[name] -= 1

        return leave


def _tells(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):  # a property: its owner is the getset descriptor of that attribute
        name = getattr(getattr(func, "__self__", None), "__name__", "")
    return name in ABOUT or name in ("is_floating_point", "is_complex", "__len__", "__hash__", "element_size")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        yield value
        return
    for each in value:
        yield from _flat(each)


@cache
def uses_of(kind: Any, child: str) -> Read | None:
    """What the methods that ``kind.forward`` reaches do with ``self.<child>``; None if they never read its weight."""
    reading, called = "", False
    for name, tree in _reached(kind).items():
        for use in _uses(tree, child):
            if use == "read":
                reading = reading or f"{kind.__name__}.{name}"
            called = called or use == "called"
    return Read(reading, called) if reading else None


@cache
def _reached(kind: Any) -> dict[str, ast.AST]:
    """The methods of a class that its ``forward`` reaches through ``self``, by name."""
    methods = _methods(kind)
    reached: dict[str, ast.AST] = {}
    todo = ["forward"]
    while todo:
        name = todo.pop()
        if name in methods and name not in reached:
            reached[name] = methods[name]
            todo += [node.attr for node in ast.walk(methods[name]) if isinstance(node, ast.Attribute)]
    return reached


def _methods(kind: type[nn.Module]) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}
    for each in kind.__mro__:
        if each is nn.Module:
            break
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        for node in getattr(tree, "body", []):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, node)
    return found


def _uses(tree: ast.AST, child: str) -> Iterator[str]:
    """``read`` and ``called``, for every mention of ``<anything>.<child>`` in a method."""
    parents = {id(below): node for node in ast.walk(tree) for below in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr == child and _is_self(node.value)):
            continue
        above = parents.get(id(node))
        if not (isinstance(above, ast.Attribute) and above.attr in OF_LAYER):
            yield "called"
        elif above.attr == "weight" and isinstance(above.ctx, ast.Load) and not _only_told(above, parents):
            yield "read"


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _only_told(weight: ast.AST, parents: Mapping[int, ast.AST]) -> bool:
    """Whether a mention of a weight asks for its dtype and the like, or for what it is."""
    above = parents.get(id(weight))
    if isinstance(above, ast.Attribute):
        return above.attr in ABOUT
    if isinstance(above, ast.Compare):
        return all(isinstance(each, ast.Is | ast.IsNot) for each in above.ops)
    return isinstance(above, ast.Call) and getattr(above.func, "id", "") in ("isinstance", "hasattr", "getattr", "type")
