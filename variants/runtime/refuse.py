"""What an adapter cannot be put on, said before anything is touched."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.state import CHILD, attachments, weight_of


def find_free_targets(model: nn.Module, config: AdapterConfig, name: str) -> dict[str, nn.Module]:
    """The targets by name, each able to take an adapter; ``AdapterError`` if the name or a target cannot be had."""
    _refuse_taken_name(model, name)
    _refuse_foreign_state(model)
    targets = config.targets.find(model)
    for target, layer in targets.items():
        _refuse_unusable(target, layer)
    return targets


def refuse_other_config(variant: type[Adapter], config: AdapterConfig) -> None:
    """Each variant takes its own config."""
    if not isinstance(config, variant.Config):
        raise AdapterError(
            got=f"a {type(config).__name__}",
            want=f"a {variant.Config.__name__}",
            where=f"attach(variant={variant.__name__})",
            fix="Pass the config class of this variant.",
        )


def refuse_tied(model: nn.Module, target: str) -> None:
    """Replacing a shared weight would change the other module too."""
    layer = model.get_submodule(target)
    weight = weight_of(layer)
    sharers = [
        name
        for name, module in model.named_modules()
        if module is not layer and any(p is weight for p in module.parameters(recurse=False))
    ]
    if sharers:
        raise AdapterError(
            got=f"a weight that is tied to {', '.join(sharers)}",
            want="a weight of its own (the method replaces it)",
            where=f"attach to {target}",
            fix=f"Leave it out with Targets(exclude=({target!r},)), or choose a method that leaves the weight alone.",
        )


def _refuse_taken_name(model: nn.Module, name: str) -> None:
    if name in attachments(model):
        raise AdapterError(
            got=f"a second adapter named {name!r}",
            want="a name that is not in use: " + ", ".join(attachments(model)),
            where="attach",
            fix="Pass another name=, or detach(model, name) first.",
        )


def _refuse_foreign_state(model: nn.Module) -> None:
    known = {id(a) for at in attachments(model).values() for a in at.layers.values()}
    foreign = [name for name, m in model.named_modules() if isinstance(m, Adapter) and id(m) not in known]
    if foreign:
        raise AdapterError(
            got=f"adapters attached through another module: {', '.join(foreign[:3])}",
            want="all adapters attached through the same module",
            where="attach",
            fix="Attach to the module you attached to before, or detach there first.",
        )


def _refuse_unusable(target: str, layer: nn.Module) -> None:
    weight = weight_of(layer)
    if hasattr(layer, CHILD):
        raise AdapterError(
            got="a layer that already has an adapter",
            want="each layer to have at most one",
            where=f"attach to {target}",
            fix="detach(model) first, or choose disjoint targets.",
        )
    if weight.is_meta or is_lazy(weight):
        raise AdapterError(
            got="a weight on the meta device" if weight.is_meta else "a lazy layer that has not seen its input yet",
            want="weights that are there",
            where=f"attach to {target}",
            fix="Load the model's weights first, or run a lazy model once.",
        )
    # isfinite does not know the 8-bit floats.
    values = weight.float() if weight.is_floating_point() and weight.itemsize == 1 else weight
    if values.is_floating_point() and not torch.isfinite(values).all():
        raise AdapterError(
            got="NaN or infinity in the weight",
            want="finite weights",
            where=f"attach to {target}",
            fix="Repair the base model; an adapter cannot mend it.",
        )
