"""Modules that are trained whole beside an adapter, such as a classifier's new head, and saved with it.

peft's ``modules_to_save``. Here the module itself is trained; what it was before comes back with ``detach``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from variants.runtime.errors import AdapterError
from variants.runtime.numerics.finite import all_finite
from variants.runtime.state import attachments
from variants.runtime.targets import matches_name

PREFIX = "modules_to_save/"
"""How the keys of such modules' tensors begin in a file; no module's name has a slash from ``add_module`` on."""
FIELD = "modules"


def find_kept(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The modules that the names (patterns as in ``Targets``) mean, outermost ones only."""
    if isinstance(names, str):
        names = (names,)
    found: dict[str, nn.Module] = {}
    for pattern in names:
        here = {n: m for n, m in model.named_modules() if n and isinstance(pattern, str) and matches_name(n, pattern)}
        if not here:
            raise _refused(repr(pattern), "the name of a module of this model", "Compare with model.named_modules().")
        found |= here
    outer = {n: m for n, m in found.items() if not any(n.startswith(f"{other}.") for other in found)}
    for name, module in outer.items():
        _refuse_unusable(model, name, module)
    return outer


def inside(name: str, kept: Mapping[str, nn.Module]) -> bool:
    """Whether a module of this name is one of them or in one of them."""
    return any(name == each or name.startswith(f"{each}.") for each in kept)


def refuse_overlap(model: nn.Module, targets: Mapping[str, nn.Module], kept: Mapping[str, nn.Module]) -> None:
    """A module is trained whole by one adapter, or has adapters, but not both."""
    others = attachments(model)
    taken = {name: each.name for each in others.values() for name in each.kept}
    sit = {layer: each.name for each in others.values() for layer in each.layers}
    pairs = [(t, n) for t in (*targets, *kept) for n in taken if inside(t, {n: model}) or inside(n, {t: model})]
    pairs += [(name, layer) for name in kept for layer in sit if inside(layer, {name: model})]
    if pairs:
        new, old = pairs[0]
        raise AdapterError(
            got=f"{new}, where {taken.get(old) or sit[old]!r} is at work already ({old})",
            want="modules of which no other adapter trains a part",
            where="attach",
            fix="Choose other modules, or detach the other adapter first.",
        )


def values_of(kept: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and persistent buffers by the keys of a file."""
    return {f"{PREFIX}{name}.{key}": t for name, m in kept.items() for key, t in m.state_dict(keep_vars=True).items()}


def put(kept: Mapping[str, nn.Module], values: Mapping[str, Tensor]) -> None:
    """Write values by the keys of a file."""
    with torch.no_grad():
        for key, tensor in values_of(kept).items():
            tensor.copy_(values[key])


def require_values(kept: Mapping[str, nn.Module], values: Mapping[str, Tensor], where: str) -> None:
    """The values are these modules' in shape and dtype, and finite; ``AdapterError`` otherwise."""
    have = {key: (tuple(t.shape), t.dtype) for key, t in values_of(kept).items()}
    given = {key: (tuple(t.shape), t.dtype) for key, t in values.items()}
    wrong = sorted(key for key in have.keys() | given.keys() if have.get(key) != given.get(key))
    if wrong:
        got, want = given.get(wrong[0], "nothing"), have.get(wrong[0], "nothing")
        fix = "Load the right file onto the right base model."
        raise AdapterError(got=f"{wrong[0]}: {got}", want=want, where=where, fix=fix)
    if broken := [key for key, t in values.items() if not all_finite(t)]:
        fix = "Go back to a state from before the training diverged."
        raise AdapterError(got=f"NaN or infinity in {', '.join(broken)}", want="finite values", where=where, fix=fix)


def names_in(metadata: Mapping[str, str], where: str) -> list[str]:
    """The names that a file gives; none in files from before there were any."""
    try:
        names = json.loads(metadata.get(FIELD, "[]"))
    except ValueError:
        names = None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        fix = "Load it with the version that wrote it."
        raise AdapterError(got=f"{FIELD} {metadata[FIELD]!r}", want="a list of names", where=where, fix=fix)
    return names


def _refuse_unusable(model: nn.Module, name: str, module: nn.Module) -> None:
    own = {id(t): key for key, t in module.named_parameters()}
    if not own or not all(p.is_floating_point() and not p.is_meta for p in module.parameters()):
        fix = "Name another module."
        raise _refused(f"{name}, a {type(module).__name__}", "a module with floating-point parameters only", fix)
    within = {id(m) for m in module.modules()}
    for other, m in model.named_modules():
        if id(m) not in within and any(id(p) in own for p in m.parameters(recurse=False)):
            fix = "Untie them first: training one would change the other."
            raise _refused(f"{name}, which shares a parameter with {other}", "parameters of its own", fix)


def _refused(got: str, want: str, fix: str) -> AdapterError:
    return AdapterError(got=got, want=want, where="attach(modules_to_save=)", fix=fix)
