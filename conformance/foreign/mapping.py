"""Which tensor of a module is which of the formula's: by shape, then by how it starts; or an error with candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conformance.planning.names import BadRequest
from refs.subject import AS_IS, TRANSPOSED, Slot, View

RESHAPED = View(lambda t: t.reshape(-1), lambda t, shape: t.reshape(shape))


@dataclass(frozen=True)
class Found:
    """A tensor that may be the one."""

    path: str
    view: View
    tensor: Tensor
    trainable: bool


def tensors_of(module: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers by path, without the base's weight and bias."""
    taken = {id(t) for t in (getattr(base, "weight", None), getattr(base, "bias", None)) if t is not None}
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {path: t for path, t in named.items() if id(t) not in taken}


def base_of(module: nn.Module, weight: Tensor, *, replaced: bool) -> nn.Module:
    """The layer underneath: what holds the layer's own weight. ``replaced``: the method leaves another weight there."""
    of_shape = [m for m in module.modules() if _weight(m) is not None and _weight(m).shape == weight.shape]  # type: ignore[union-attr]
    equal = [m for m in of_shape if torch.equal(_weight(m).detach().to(weight.dtype), weight)]  # type: ignore[union-attr]
    chosen = equal or (of_shape if replaced else [])
    if not chosen:
        why = "a weight of that shape with other numbers" if of_shape else "no weight of that shape"
        raise BadRequest(
            f"the module: got {why} in {type(module).__name__}, want the layer's own weight "
            f"{tuple(weight.shape)}. Copy weight and bias of the layer into it in `put`."
        )
    return next((m for m in chosen if isinstance(m, nn.Linear)), chosen[0])


def copy_base(layer: nn.Linear, module: nn.Module) -> None:
    """Copy the layer's weight and bias into the one place of that shape in ``module``, and freeze them there.

    Of several, the one that is nearest to the module itself. BadRequest if there is none, or more than one. Cast the
    module before: what is copied into float32 has lost the digits of a float64 layer.
    """
    fitting = [
        (name.count(".") + bool(name), m)
        for name, m in module.named_modules()
        if (w := _weight(m)) is not None and w.shape == layer.weight.shape
    ]
    places = [m for depth, m in fitting if depth == min(d for d, _ in fitting)]
    if len(places) != 1:
        raise BadRequest(
            f"put: got {len(places)} places for a weight {tuple(layer.weight.shape)}, want one. "
            "Copy weight and bias into your module in `put` yourself."
        )
    (place,) = places
    with torch.no_grad():
        for name, tensor in (("weight", layer.weight), ("bias", layer.bias)):
            own = place._parameters.get(name)
            if tensor is not None and own is not None:
                own.copy_(tensor)
                own.requires_grad_(False)


def _weight(module: nn.Module) -> Tensor | None:
    found = module._parameters.get("weight")
    return found if isinstance(found, Tensor) else None


def inferred(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Slot], given: Mapping[str, str | tuple[str, View]]
) -> dict[str, tuple[str, View]]:
    """Path and view of every tensor of the formula; ``given`` names are taken as they are.

    Where several fit by shape, those that train where the reference's does come first, then those that start at the
    same constant. BadRequest that lists the candidates where more than one is left, or none.
    """
    names: dict[str, tuple[str, View]] = {}
    for name, where in given.items():
        names[name] = where if isinstance(where, tuple) else _viewed(where, tensors, wanted.get(name))
    free = {path: t for path, t in tensors.items() if path not in {path for path, _ in names.values()}}
    unclear = []
    for name, slot in wanted.items():
        if name in names:
            continue
        fitting = _narrowed([found for path, t in free.items() for found in _fits(path, t, slot)], slot)
        if len(fitting) == 1:
            names[name] = fitting[0].path, fitting[0].view
        else:
            shape = "x".join(map(str, slot.value.shape))
            told = ", ".join(f.path for f in fitting) or "none of " + (", ".join(map(_told, free.items())) or "nothing")
            unclear.append(f"{name} ({shape}): {told}")
    if unclear:
        raise BadRequest(
            f"names: got {'; '.join(unclear)}, want one tensor for each name of the formula. "
            f"Say which: names={{{', '.join(repr(u.split(' ')[0]) + ': PATH' for u in unclear)}}}, below the module."
        )
    return names


def _told(item: tuple[str, Tensor]) -> str:
    return f"{item[0]} ({'x'.join(map(str, item[1].shape)) or 'a scalar'})"


def _viewed(path: str, tensors: Mapping[str, Tensor], slot: Slot | None) -> tuple[str, View]:
    tensor = tensors.get(path)
    if tensor is None or slot is None:
        return path, AS_IS  # the preflight says what is wrong with it
    fitting = _fits(path, tensor, slot)
    return (path, fitting[0].view) if fitting else (path, AS_IS)


def _fits(path: str, tensor: Tensor, slot: Slot) -> list[Found]:
    want = tuple(slot.value.shape)
    found = tuple(tensor.shape)
    view = (
        AS_IS
        if found == want
        else TRANSPOSED
        if len(found) == 2 and found[::-1] == want
        else RESHAPED
        if len(want) == 1 and tuple(n for n in found if n != 1) == want and want != (1,)
        else None
    )
    return [Found(path, view, tensor, tensor.requires_grad)] if view is not None else []


def _narrowed(fitting: list[Found], slot: Slot) -> list[Found]:
    for keeps in (
        lambda f: f.view is AS_IS,
        lambda f: f.trainable == slot.trainable,
        lambda f: _constant(f.tensor) == _constant(slot.value),
    ):
        left = [found for found in fitting if keeps(found)]
        fitting = left or fitting
        if len(fitting) == 1:
            break
    return fitting


def _constant(t: Tensor) -> float | None:
    first = t.reshape(-1)[0].item() if t.numel() else 0.0
    return first if bool((t == first).all()) else None
