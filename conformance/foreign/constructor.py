"""How somebody's class is put on a layer, as far as the names of its constructor's parameters tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from torch import nn

from conformance.foreign.mapping import copy_base
from conformance.planning.names import BadRequest
from refs.settings import Settings

LAYERS = ("base", "base_layer", "layer", "linear", "module", "org_module", "original_layer", "original", "wrapped")
"""Names of a parameter that takes the layer itself."""
VALUES: dict[str, tuple[str, ...]] = {
    "layer.in_features": ("in_features", "in_dim", "input_dim", "d_in", "in_size"),
    "layer.out_features": ("out_features", "out_dim", "output_dim", "d_out", "out_size"),
    "settings.r": ("r", "rank", "lora_rank", "lora_r", "lora_dim", "dim"),
    "settings.alpha": ("alpha", "lora_alpha", "scale_alpha"),
    "layer.bias is not None": ("bias", "use_bias"),
    "layer.weight.dtype": ("dtype",),
    "layer.weight.device": ("device",),
}
"""What is passed, by the names under which constructors take it."""

LAYER, BIAS = "layer", "layer.bias is not None"


def put_by_names(code: Any) -> Callable[[nn.Linear, Settings], nn.Module]:
    """A function that calls the class for a layer and settings; one without the layer gets its weight and bias copied.

    BadRequest for a constructor that needs more than the names tell.
    """
    arguments, missing = call_of(code)
    if missing:
        raise BadRequest(
            f"conforms_to: cannot call {code.__name__}: unknown constructor parameters {', '.join(missing)}. "
            f"Known names: {', '.join((*LAYERS, *(name for names in VALUES.values() for name in names)))}. "
            f"Write a function instead: def test_mine(layer, settings): return {code.__name__}(...)."
        )
    values = dict(argument.split("=", 1) for argument in arguments)

    def put(layer: nn.Linear, settings: Settings) -> nn.Module:
        scope = SimpleNamespace(layer=layer, settings=settings)
        made = {n: layer.bias is not None if v == BIAS else attrgetter(v)(scope) for n, v in values.items()}
        module: nn.Module = code(**made)
        if LAYER not in values.values():
            copy_base(layer, module)
        return module.to(layer.weight.dtype)

    return put


def call_of(code: Any) -> tuple[list[str], list[str]]:
    """The constructor's arguments that can be told from their names, and the names of the others that it needs."""
    known = {name: value for value, names in VALUES.items() for name in names} | dict.fromkeys(LAYERS, "layer")
    arguments, missing = [], []
    parameters = [p for n, p in inspect.signature(code).parameters.items() if n != "self"]
    takes_layer = any(p.name in LAYERS for p in parameters)
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        value = known.get(p.name)
        if value is not None and not (takes_layer and value.startswith("layer.")):
            arguments.append(f"{p.name}={value}")
        elif p.default is p.empty:
            missing.append(p.name)
    return arguments, missing
