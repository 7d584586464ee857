"""``conformance.entry``: a way to put code on a layer becomes an entry; all else has a default or is inferred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from conformance.foreign.mapping import base_of, inferred, tensors_of
from conformance.foreign.observe import observed
from conformance.measuring.trial import frame_of, in_words
from conformance.nouns.entry import Entry
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Promises
from conformance.nouns.verdict import Deviation
from conformance.planning.names import BadRequest, did_you_mean
from refs.reference import Built, Method, Options
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Host, Slot, Subject, View

Put = Callable[[nn.Linear, Settings], nn.Module | None]
Name = str | tuple[str, View]


def entry(
    name: str,
    method: str | Method,
    put: Put,
    *,
    names: Mapping[str, Name] | None = None,
    code: Any = None,
    lifecycle: Lifecycle | None = None,
    promises: Promises | None = None,
    has_dropout: bool = False,
    options: Sequence[Options] = (),
    refused: Sequence[Options] = (),
    deviations: Sequence[Deviation] = (),
    notes: Sequence[str] = (),
) -> Entry:
    """An entry for code that ``put(layer, settings)`` puts on a plain ``nn.Linear``.

    ``put`` returns the module to call, or None where it changed the layer itself; the layer's weight and bias must be
    in it. ``settings.r`` and ``settings.alpha`` say how large. ``method``: ``"dora"``, ``"peft:dora"``, or a ``Method``
    of your own. ``names``: where each tensor of the formula is, relative to the module; inferred where it is clear.
    ``code``: the class that findings point at (default: that of the module). ``lifecycle``: functions for merging,
    saving and so on. ``promises``: what it does not do; None:
    what it is seen not to take. ``options``: option sets to ask, as sorted pairs.
    ``notes``: what ``put`` does for the code, for the card. BadRequest for a method that there is not.
    """
    of = method if isinstance(method, Method) else method_named(method)
    given = dict(names or {})
    found: dict[tuple[str, ...], dict[str, tuple[str, View]]] = {}

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        key = tuple(key for key, _ in settings.options)
        if key not in found:
            found[key] = _names(of, put, given, settings)
        return built(layer, settings, put, found[key], replaced=of.replaces_weight)

    return Entry(
        name,
        build,
        code if code is not None else put,
        of,
        has_dropout=has_dropout,
        options=tuple(options),
        refused=tuple(refused),
        lifecycle=lifecycle,
        deviations=tuple(deviations),
        promises=replace(
            _limits(build, of) if promises is None else promises,
            offset=any(isinstance(where, tuple) and where[1].linear is not None for where in given.values()),
        ),
        notes=tuple(notes),
    )


def _limits(build: Callable[[nn.Linear, Settings], Subject], method: Method) -> Promises:
    try:
        return observed(build, method.options)
    except BadRequest:  # names that are not clear: the preflight says so
        return FOREIGN


def method_named(name: str) -> Method:
    """The method of that name, or of a reference of that id. BadRequest if there is none."""
    for method in METHODS:
        if name == method.name or name in {reference.id for reference in method.references}:
            return method
    known = [method.name for method in METHODS]
    raise BadRequest(
        f"method: got {name!r}, want one of {', '.join(known)}. {did_you_mean(name.rpartition(':')[2], known)}".rstrip()
    )


def built(
    layer: nn.Linear, settings: Settings, put: Put, names: Mapping[str, tuple[str, View]], *, replaced: bool
) -> Subject:
    """The subject of code that ``put`` puts on a layer, its tensors in the dtype that is asked for."""
    host, base = _put(layer, settings, put, replaced=replaced)
    subject = Subject(host, base, {name: (f"layer.{path}", view) for name, (path, view) in names.items()})
    if settings.dtype is not None:
        dtype = getattr(torch, settings.dtype)
        for path, _ in subject.names.values():
            tensor = _at(host, path)
            if isinstance(tensor, Tensor) and tensor.dtype != dtype:
                tensor.data = tensor.data.to(dtype)
    return subject


def _put(layer: nn.Linear, settings: Settings, put: Put, *, replaced: bool) -> tuple[Host, nn.Linear]:
    weight = layer.weight.detach().clone()
    before = _parts(layer)
    module = put(layer, settings)
    if module is None and _parts(layer) == before:
        raise BadRequest("put() returned None and changed nothing in the layer. Did you forget `return`?")
    module = layer if module is None else module
    if not isinstance(module, nn.Module):
        article = "an" if type(module).__name__[0] in "aeiou" else "a"
        raise BadRequest(
            f"put() returned {article} {type(module).__name__}. It must return the nn.Module to call, or None if it "
            "changed the layer itself."
        )
    return Host(module), base_of(module, weight, replaced=replaced)  # type: ignore[return-value]


def _parts(layer: nn.Module) -> tuple[object, ...]:
    """What changes when somebody changes a layer: its class, attributes, tensors, modules and hooks."""
    held = {name: id(t) for name, t in (*layer.named_parameters(), *layer.named_buffers())}
    hooks = len(layer._forward_hooks) + len(layer._forward_pre_hooks)
    versions = tuple(t._version for t in layer.parameters())
    return type(layer), sorted(vars(layer)), held, [id(m) for m in layer.modules()], hooks, versions


def _names(method: Method, put: Put, given: Mapping[str, Name], settings: Settings) -> dict[str, tuple[str, View]]:
    """Found once, on a layer of which no two sizes are equal."""
    usual = Settings(r=4, alpha=6.0, options=settings.options)
    host, base = _put(_layer(), usual, put, replaced=method.replaces_weight)
    tensors = tensors_of(host.layer, base)
    return inferred(tensors, wanted(method, settings.options), given)


def _layer() -> nn.Linear:
    torch.default_generator.manual_seed(0)
    return nn.Linear(12, 20)


def wanted(method: Method, options: Options = ()) -> dict[str, Slot]:
    """The formula's tensors as the main reference has them on a layer 12 -> 20 with r=4."""
    from conformance.foreign.own import tensors_of_closed, tensors_of_recorded

    reference = method.witness_for(Settings(options=options))
    if reference is None:
        return tensors_of_closed(method) or tensors_of_recorded(method)
    return _of_layer(reference, options)


@cache
def _of_layer(reference: Built, options: Options) -> dict[str, Slot]:
    options = tuple(sorted({**dict(reference.options), **dict(options)}.items()))
    try:
        subject = reference.build(_layer(), Settings(r=4, alpha=6.0, options=options))
    except BadRequest:
        raise
    except Exception as error:
        raise BadRequest(
            f"the reference {reference.id}: got {in_words(error)}{frame_of(error)} on nn.Linear(12, 20) with r=4, "
            "alpha=6; want an adapted layer."
        ) from error
    slots = subject.slots()
    for name, (path, _) in subject.names.items():
        if name not in slots:
            paths = [p.removeprefix("layer.") for p in tensors_of(subject.host, subject.base)]
            at = path.removeprefix("layer.")
            raise BadRequest(
                f"the reference {reference.id}: got {at!r} for {name}, want one of {', '.join(paths) or 'none'}. "
                f"{did_you_mean(at, paths)}".rstrip()
            )
    return {name: slots[name] for name in subject.names}


def _at(module: nn.Module, path: str) -> Any:
    thing: Any = module
    for part in path.split("."):
        thing = getattr(thing, part, None)
    return thing
