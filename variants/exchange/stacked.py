"""peft's ``target_parameters``: adapters on weights that are stacked in one parameter, and what peft calls them.

peft wraps the module that has the parameter, once per parameter and in the module's order, so that the last one is
outermost: ``experts.base_layer.lora_A.weight`` belongs to the first of two, ``experts.lora_A.weight`` to the second.
Its A of n weights is ``(n r, d_in)``, one weight after the other; its B is ``(d_out, r n)``, the number of
the weight running fastest.

Source: ``peft.tuners.lora.layer.ParamWrapper``, ``peft.tuners.tuners_utils.BaseTuner._inject_parameters``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from variants.exchange.matching import matches, plain_modules
from variants.exchange.method import Conversion, Names
from variants.runtime.errors import AdapterError
from variants.runtime.layers.stacks import DIMENSIONS, Stack, stack_of

FIELD = "target_parameters"
INNER = ".base_layer"


def names_of(n: int) -> Names:
    """A ``(n, r, d_in)`` and B ``(n, d_out, r)`` here -> peft's, and back."""
    A = Conversion(
        lambda t: t.reshape(-1, t.shape[-1]),
        lambda t: t.reshape(n, -1, t.shape[-1]),
        lambda shape: (shape[0] * shape[1], shape[2]),
    )
    B = Conversion(
        lambda t: t.permute(1, 2, 0).reshape(t.shape[1], -1),
        lambda t: t.reshape(t.shape[0], -1, n).permute(2, 0, 1),
        lambda shape: (shape[1], shape[2] * shape[0]),
    )
    return {"A": ("lora_A.weight", A), "B": ("lora_B.weight", B)}


def places(model: nn.Module, targets: Iterable[str]) -> dict[str, str]:
    """Target -> how peft calls the module around its tensors; of a layer, its own name."""
    targets = list(targets)
    of_owner: dict[str, list[str]] = {}
    for name, module in plain_modules(model):
        here = [f"{name}.{parameter}" for parameter in module._parameters if f"{name}.{parameter}" in targets]
        if here:
            of_owner[name] = here
    found = {target: target for target in targets}
    for owner, here in of_owner.items():
        for depth, target in enumerate(reversed(here)):
            found[target] = owner + INNER * depth
    return found


def chosen_stacks(settings: Mapping[str, Any], model: nn.Module, where: str) -> dict[str, Stack]:
    """What the setting names in this model, by the parameters' names."""
    wanted = [] if settings.get(FIELD) is None else settings[FIELD]
    if not (isinstance(wanted, list) and all(isinstance(each, str) and each for each in wanted)):
        fix = "Correct adapter_config.json."
        raise AdapterError(got=f"{FIELD}={wanted!r}", want="a list of names", where=where, fix=fix)
    found: dict[str, Stack] = {}
    for name, module in plain_modules(model):
        for parameter, tensor in module._parameters.items():
            target = f"{name}.{parameter}"
            if tensor is None or not matches(target, wanted):
                continue
            if tensor.dim() != DIMENSIONS:
                raise AdapterError(
                    got=f"{target}, a parameter of {tensor.dim()} dimensions, in {FIELD}",
                    want=f"parameters of {DIMENSIONS} dimensions, which stack several weights",
                    where=where,
                    fix="Train it as a target module in peft; here, adapters go on layers and on stacked weights.",
                )
            found[target] = stack_of(module, parameter)
    if idle := [each for each in wanted if not any(matches(target, [each]) for target in found)]:
        fix = "Import the adapter onto the model it was trained on."
        raise AdapterError(got=f"{FIELD} {idle}", want="parameters of this model", where=where, fix=fix)
    return found


def named_parameters(targets: Iterable[str], model: nn.Module) -> list[str]:
    """Names that take exactly these parameters by peft's rule: a module's and a parameter's if they do, else whole."""
    targets = sorted(targets)
    there = [f"{name}.{parameter}" for name, module in plain_modules(model) for parameter in module._parameters]
    short = sorted({".".join(target.split(".")[-2:]) for target in targets})
    return short if sorted(name for name in there if matches(name, short)) == targets else targets
