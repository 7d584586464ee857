"""Put an adapter on a model and take it off again. A call that fails changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from variants.runtime.adapter import Adapter
from variants.runtime.calibrate import Statistic, gather
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.fingerprint import fingerprint
from variants.runtime.layers.choice import more_than_full, sort_out
from variants.runtime.layers.kept import find_kept, inside, put, refuse_overlap, values_of
from variants.runtime.layers.numbers import is_quantised
from variants.runtime.layers.packing import hold, release
from variants.runtime.layers.report import survey
from variants.runtime.layers.stacks import Stack, module_at
from variants.runtime.layers.state_dicts import unwatch, watch
from variants.runtime.layers.wrapped import forget_compiled, refuse_wrapped
from variants.runtime.merge import merge, restore, unmerge
from variants.runtime.refuse import find_free_targets, refuse_other_config, refuse_tied
from variants.runtime.state import CHILD, STATE, Attachment, ModelState, attachments, chosen, require_adapter, weight_of

T = TypeVar("T")


def attach(
    model: nn.Module,
    config: AdapterConfig,
    *,
    calibration: Iterable[Any] | None = None,
    sample: Any = None,
    modules_to_save: Sequence[str] = (),
    name: str | None = None,
    variant: type[Adapter] | None = None,
) -> Attachment:
    """Put an adapter on every target of ``model``, freeze the base, and return the handle.

    The handle's ``report`` says which layers it took, which it left and why, and how many numbers it trains.

    Several adapters may sit on disjoint targets of one model; each needs a ``name`` of its own (the variant's by
    default). ``calibration``: batches for the methods that look at data; the model runs over them as it is before the
    call. ``sample``: one batch, on which the model runs once in each mode, to see which layers it calls and which
    weights it reads past their layer (``variants.runtime.layers.reads``). Without it, that is read from the source of
    the model's modules, and nothing is run. No layer that is read gets an adapter by default. Named in the targets, one
    that is only read is refused, and one that is called as well is refused by the methods that replace the weight.

    ``modules_to_save``: names of modules that are trained whole, such as a classifier's new head; they are saved and
    loaded with the adapter, and ``detach`` puts back what they were.

    ``variant`` takes a class of your own in place of the registered one for this config. Random initial values come
    from torch's global generator. While a model has an adapter, bitsandbytes repacks none of its 4-bit layers, and
    those that it has repacked lie in the plain packing, with the same numbers (``variants.runtime.layers.packing``).

    Raises ``AdapterError``: unknown config, no target, a target that already has an adapter, one named
    in the targets that the model only reads, a wrapped model (``torch.compile``, DDP), a name in use, weights
    that are not finite or not there (meta), or whatever the variant refuses. The model is then as it was.
    """
    from variants.registry import on_layer, variant_for

    if variant is None:
        variant = variant_for(config)
    refuse_other_config(variant, config)
    refuse_wrapped(model, "attach")
    name = variant.name if name is None else name
    targets = find_free_targets(model, config, name)
    kept = find_kept(model, modules_to_save)
    refuse_overlap(model, targets, kept)
    whole = {target: "trained whole" for target in targets if inside(target, kept)}
    targets = {target: layer for target, layer in targets.items() if target not in whole}
    left, notes = sort_out(model, variant, config, targets, sample)
    targets = {target: layer for target, layer in targets.items() if target not in left}
    if not targets:
        got = f"only targets that the model reads itself, such as {next(iter(left))}"
        raise AdapterError(got=got, want="one that it calls", where="attach", fix="Choose other targets.")

    # Everything that can fail for the user's reasons fails here, before the model is touched; what needs no data to
    # fail, before the model is called.
    for target, layer in targets.items():
        _naming(target, _naming(target, on_layer, variant, layer).refuse, config, layer)
        if variant.residual is not Adapter.residual and not is_quantised(layer):
            refuse_tied(model, target, layer)
    statistics = _calibrate(model, variant, config, targets, calibration)
    kinds = {target: on_layer(variant, layer) for target, layer in targets.items()}
    built = {
        target: build(kinds[target], each, target, targets[target], statistic=statistics.get(target))
        for target, each in variant.assign(config, targets, statistics).items()
    }
    notes = {**more_than_full(built), **notes}
    left |= whole | {target: f"{variant.name} gives it no adapter" for target in targets if target not in built}
    return place(model, name, variant, config, built, left=left, notes=notes, kept=kept)


def place(
    model: nn.Module,
    name: str,
    variant: type[Adapter],
    config: AdapterConfig,
    built: dict[str, Adapter],
    *,
    left: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    kept: Mapping[str, nn.Module] | None = None,
) -> Attachment:
    """Put adapters that are built on their layers, all or none, and freeze the base.

    ``left``: targets that get none, each with the reason. ``notes``: what to know about those that get one.
    ``kept``: modules that are trained whole.
    """
    targets = {target: module_at(model, target) for target in built}
    prints = {target: fingerprint(layer) for target, layer in targets.items()}
    residuals = {
        target: None if adapter.on_codes else adapter.residual(weight_of(targets[target]).detach())
        for target, adapter in built.items()
    }
    for target, residual in residuals.items():
        if residual is not None:
            refuse_tied(model, target, targets[target])

    state = model.__dict__.get(STATE) or ModelState()
    try:
        hold(model, state.held)
        for target, adapter in built.items():
            layer = targets[target]
            if isinstance(layer, Stack):
                layer.mount()
            layer.add_module(CHILD, adapter)
            adapter.hook(targets[target])
            watch(targets[target], adapter)
            residual = residuals[target]
            if residual is not None:
                weight = weight_of(targets[target])
                adapter.original = weight.detach().clone()
                with torch.no_grad():
                    weight.copy_(residual)
    except BaseException:
        _take_off(model, built.values())
        if not state.attachments:
            release(state.held)
        raise
    kept = dict(kept or {})
    whole = [*kept.values(), *(m for each in state.attachments.values() for m in each.kept.values())]
    trained = {id(p) for module in whole for p in module.parameters()}
    for key, parameter in _base_parameters(model).items():
        state.trainable.setdefault(key, parameter.requires_grad)
        parameter.requires_grad_(id(parameter) in trained)
    attachment = Attachment(name, variant, config, prints, built, dict(left or {}), dict(notes or {}))
    attachment.kept, attachment.before = kept, {key: t.detach().clone() for key, t in values_of(kept).items()}
    attachment.skipped = config.targets.skipped(model)
    adapters = (p for m in model.modules() if isinstance(m, Adapter) for p in m.parameters())
    stacked = (m.stored for m in model.modules() if isinstance(m, Stack))
    attachment.survey = survey(model, adapters, stacked)
    state.attachments[name] = attachment
    model.__dict__[STATE] = state
    forget_compiled(model)
    return attachment


def detach(model: nn.Module, name: str | None = None) -> None:
    """Take one adapter off, or all of them. The last one to go restores the model bit for bit, requires_grad included.

    A parameter that came to the model after the last ``attach`` keeps its requires_grad.
    """
    refuse_wrapped(model, "detach")
    require_adapter(model, name, where="detach")
    there = attachments(model)
    for each in [name] if name is not None else list(there):
        restore(model, there[each])
        put(there[each].kept, there[each].before)
        _forget(model, each)


def merge_and_detach(model: nn.Module, name: str | None = None) -> nn.Module:
    """Make one adapter, or all of them, part of the model for good, and leave no trace of them. Returns the model.

    The weights are those of ``merge``. Keys of ``state_dict``, modules, hooks and requires_grad are those from before
    ``attach`` (of the other adapters, if any stay). It cannot be undone.

    Raises ``AdapterError`` for all that ``merge`` refuses, and for an unknown name; the model is then as it was.
    """
    refuse_wrapped(model, "merge_and_detach")
    there = attachments(model)
    names = list(there) if name is None and there else [chosen(model, name, where="merge_and_detach").name]
    merged: list[str] = []
    try:
        for each in names:
            if not there[each].merged:
                merge(model, each)
                merged.append(each)
    except BaseException:
        for each in merged:
            unmerge(model, each)
        raise
    for each in names:
        for adapter in there[each].layers.values():
            adapter.original = None  # which would be put back
        _forget(model, each)
    return model


def _forget(model: nn.Module, name: str) -> None:
    """Take an adapter off whose layers have the weights they are to keep; with the last one, undo all of ``place``."""
    state: ModelState = model.__dict__[STATE]
    _take_off(model, state.attachments[name].layers.values())
    for module in state.attachments.pop(name).kept.values():
        module.requires_grad_(False)
    if not state.attachments:
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(state.trainable.get(key, parameter.requires_grad))
        release(state.held)
        del model.__dict__[STATE]


def _base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    of_adapters = {id(p) for m in model.modules() if isinstance(m, Adapter) for p in m.parameters()}
    return {key: p for key, p in model.named_parameters() if id(p) not in of_adapters}


def build(variant: type[Adapter], config: AdapterConfig, target: str, layer: nn.Module, **given: Any) -> Adapter:
    """One adapter for one layer, which is left alone; errors name the target."""
    return _naming(target, variant, config, layer, **given)


def _naming(target: str, call: Callable[..., T], *args: Any, **given: Any) -> T:
    try:
        return call(*args, **given)
    except AdapterError as error:  # which knows the layer's shape, but not its name
        where = f"{error.where}, attach to {target}"
        raise AdapterError(got=error.got, want=error.want, where=where, fix=error.fix) from None


def _take_off(model: nn.Module, adapters: Iterable[Adapter]) -> None:
    """Found by identity, not by name: a target may have been wrapped, moved or replaced since."""
    gone = set()
    for adapter in adapters:
        adapter.unhook()
        unwatch(adapter)
        gone.add(id(adapter))
    for module in list(model.modules()):
        child = module._modules.get(CHILD)
        if isinstance(child, Adapter) and id(child) in gone:
            if child.original is not None:
                with torch.no_grad():
                    weight_of(module).copy_(child.original)
            del module._modules[CHILD]
            if isinstance(module, Stack):
                module.unmount()


def _calibrate(
    model: nn.Module,
    variant: type[Adapter],
    config: AdapterConfig,
    targets: dict[str, nn.Module],
    calibration: Iterable[Any] | None,
) -> dict[str, Statistic]:
    wants = {target: layer for target, layer in targets.items() if variant.statistic(config, layer) is not None}
    if calibration is None:
        return {}
    if not wants:
        sometimes = any("statistic" in vars(each) for each in variant.__mro__ if each is not Adapter)
        raise AdapterError(
            got=f"{variant.name} does not use calibration data" + (" with this config" if sometimes else ""),
            where="attach",
            fix="Leave calibration= out" + (", or choose the option that uses it." if sometimes else "."),
        )

    def make(layer: nn.Module) -> Statistic:
        statistic = variant.statistic(config, layer)
        assert statistic is not None
        return statistic

    return gather(model, wants, make, calibration)
