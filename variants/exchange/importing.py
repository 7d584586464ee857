"""Attach what peft's ``save_pretrained`` wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from variants.exchange import stacked
from variants.exchange.exporting import PREFIX
from variants.exchange.folder import as_path, read
from variants.exchange.matching import named, plain_modules, rule_of
from variants.exchange.method import Ask, Conversion, PeftMethod, Settings, Shape
from variants.exchange.registry import by_peft_type
from variants.registry import on_layer
from variants.runtime.adapter import Adapter
from variants.runtime.attach import build, detach, place
from variants.runtime.config import DTYPES, AdapterConfig
from variants.runtime.errors import AdapterError, differences, mismatches
from variants.runtime.layers.kinds import is_conv1d, is_linear_like
from variants.runtime.layers.stacks import Stack
from variants.runtime.layers.wrapped import refuse_wrapped
from variants.runtime.refuse import find_free_targets
from variants.runtime.state import Attachment, weight_of
from variants.runtime.targets import Targets

FIX = "Import the adapter onto the model it was trained on."


def import_peft(model: nn.Module, dir: str | os.PathLike[str], *, name: str | None = None) -> tuple[Attachment, ...]:
    """Attach the adapter in the folder ``dir`` to ``model``: one attachment, or two for an IA3 of both kinds.

    What comes of a peft_type: LORA gives lora, dora (``use_dora``), eva or pissa (``init_lora_weights``; see
    ``peft_lora``); IA3 gives ia3 and, for its feed-forward modules, ia3_ff (called ``<name>_ff`` where both are there
    and a name is given); HRA, DELORA and ROAD give hra, delora and road. Ranks and alphas by pattern come along.

    peft's files do not say which base they belong to: give it the one the adapter was trained on. The tensors are held
    in float32 or wider: in float64 if the file or a target's weight is. (peft holds them in the dtype of the weight,
    and half precision in float32.) The adapter is trainable, whatever it was in peft.

    Raises ``AdapterError``: no such files or damaged ones, a pickle, a peft_type without a counterpart, settings that
    cannot be honoured (all by name), target modules that are not in this model or not linear layers (Conv1D only for
    LORA and IA3, as in peft), tensors that are missing, extra, misshapen or not finite, and all that ``attach``
    refuses. The model is then as it was. The format is that of peft 0.21 (``peft.utils.save_and_load``).
    """
    folder = as_path(dir, "import")
    where = f"import {folder}"
    refuse_wrapped(model, where)
    fields, tensors = read(folder)
    method = by_peft_type(fields.get("peft_type"), where)
    settings = method.settings(fields, where)
    targets = _targets(model, method, settings, fields.get("task_type"), where)
    tensors = _without_base(model, tensors)
    dtype = _dtype(tensors, targets, where)
    drafts = _drafts(model, method, settings, targets, dtype, name, where)
    values = _values(model, method, drafts, tensors, where)
    ready = [(draft, _built(draft, values)) for draft in drafts]
    placed: list[Attachment] = []
    try:
        for draft, built in ready:
            placed.append(place(model, draft.name, draft.variant, draft.config, built, left=draft.left))
    except BaseException:
        for attachment in placed:
            detach(model, attachment.name)
        raise
    return tuple(placed)


@dataclass(frozen=True)
class _Draft:
    """One attachment to make."""

    name: str
    variant: type[Adapter]
    config: AdapterConfig
    configs: dict[str, AdapterConfig]
    layers: dict[str, nn.Module]
    left: dict[str, str]


def _targets(
    model: nn.Module, method: PeftMethod, settings: Settings, task_type: Any, where: str
) -> dict[str, nn.Module]:
    if not isinstance(model, nn.Module):
        raise AdapterError(got=f"a {type(model).__name__}", want="an nn.Module", where=where, fix="Pass the model.")
    stacks = stacked.chosen_stacks(settings, model, where)
    if stacks and not settings["target_modules"]:
        return dict(stacks)
    rule = rule_of(settings, model, task_type, where)
    targets = {name: module for name, module in plain_modules(model) if rule.takes(name)}
    if not targets:
        got = f"target_modules={settings['target_modules']!r}, which name no module of this model"
        raise AdapterError(got=got, want="the names of its layers", where=where, fix=FIX)
    if odd := {name: type(module).__name__ for name, module in targets.items() if not _takes(method, module)}:
        conv = f", on which peft has no {method.peft_type}" if "Conv1D" in odd.values() else ""
        raise AdapterError(
            got="the target " + ", ".join(f"{name} ({kind})" for name, kind in list(odd.items())[:3]) + conv,
            want="linear layers",
            where=where,
            fix="Adapters on such modules can be used in peft only.",
        )
    return targets | stacks


def _takes(method: PeftMethod, module: nn.Module) -> bool:
    return is_linear_like(module) and (method.conv1d or not is_conv1d(module))


def _dtype(tensors: Mapping[str, Tensor], targets: Mapping[str, nn.Module], where: str) -> str:
    names = {dtype: name for name, dtype in DTYPES.items()}
    if odd := [f"{key} of {tensor.dtype}" for key, tensor in tensors.items() if tensor.dtype not in names]:
        raise AdapterError(got=odd[0], want="one of " + ", ".join(DTYPES), where=where, fix="Save it in float32.")
    weights = [weight_of(layer).dtype for layer in targets.values()]
    known = [*(tensor.dtype for tensor in tensors.values()), *(dtype for dtype in weights if dtype in names)]
    return names[reduce(torch.promote_types, known, torch.float32)]


def _drafts(
    model: nn.Module,
    method: PeftMethod,
    settings: Settings,
    targets: dict[str, nn.Module],
    dtype: str,
    name: str | None,
    where: str,
) -> list[_Draft]:
    variants = {target: method.variant_of(settings, target, where) for target in targets}
    modules = [module for module, _ in plain_modules(model)]
    drafts: list[_Draft] = []
    for variant in sorted(set(variants.values()), key=list(method.names).index):
        layers = {target: layer for target, layer in targets.items() if variants[target] is variant}
        stacks = [target for target, layer in layers.items() if isinstance(layer, Stack)]
        plain = [target for target in layers if target not in stacks]
        short = named(plain, modules)
        include = tuple(plain if isinstance(short, str) else short)
        parameters = tuple(stacked.named_parameters(stacks, model))
        ask = Ask(settings, variant, Targets(include=include, parameters=parameters), dtype)
        config = method.config_of(ask)
        called = variant.name if name is None else f"{name}_ff" if drafts else name
        found = find_free_targets(model, config, called)
        configs = {target: method.config_of(replace(ask, target=target)) for target in layers}
        left = {target: "without an adapter in the files" for target in found if target not in layers}
        drafts.append(_Draft(called, variant, config, configs, layers, left))
    return drafts


def _without_base(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the copies of the base's own weights, which peft adds where an embedding or an output head is a target.

    One that is not the model's bit for bit was resized or trained, and stays to be refused.
    """
    own = model.state_dict()

    def is_copy(key: str, tensor: Tensor) -> bool:
        there = own.get(key.removeprefix(PREFIX).replace(".base_layer.", "."))
        return there is not None and there.dtype == tensor.dtype and torch.equal(there.cpu(), tensor)

    return {key: tensor for key, tensor in tensors.items() if not is_copy(key, tensor)}


def _values(
    model: nn.Module, method: PeftMethod, drafts: list[_Draft], tensors: Mapping[str, Tensor], where: str
) -> dict[str, dict[str, Tensor]]:
    """The tensors by layer under the names they have here. Raises ``AdapterError`` unless they are all there is."""
    want: dict[str, tuple[str, str, Conversion, Shape]] = {}
    for draft in drafts:
        places = stacked.places(model, draft.layers)
        for target, layer in draft.layers.items():
            specs = on_layer(draft.variant, layer).specs_on(draft.configs[target], layer)
            names = stacked.names_of(layer.n) if isinstance(layer, Stack) else method.names[draft.variant]
            for own, (key, conversion) in names.items():
                want[f"{PREFIX}{places[target]}.{key}"] = (target, own, conversion, conversion.shape(specs[own].shape))
    wrong = []
    for key in sorted(want.keys() & tensors.keys()):
        if tuple(tensors[key].shape) != want[key][3]:
            wrong.append((key, str(tuple(tensors[key].shape)), str(want[key][3])))
    if told := "; ".join(filter(None, (differences(tensors, want), mismatches(wrong, len(want))))):
        raise AdapterError(got=f"tensors: {told}", where=where, fix=FIX)
    if broken := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        fix = "Go back to a state from before the training diverged."
        raise AdapterError(got=f"NaN or infinity in {', '.join(broken)}", want="finite values", where=where, fix=fix)
    values: dict[str, dict[str, Tensor]] = {}
    for key, (target, own, conversion, _) in want.items():
        values.setdefault(target, {})[own] = conversion.from_peft(tensors[key])
    return values


def _built(draft: _Draft, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Adapter]:
    built = {}
    for target, layer in draft.layers.items():
        config, given = draft.configs[target], dict(values[target])
        kind = on_layer(draft.variant, layer)
        specs = kind.specs_on(config, layer)
        if specs.keys() - given.keys():  # what peft does not write, it computes from the base, and so do we
            fresh = build(kind, config, target, layer)
            made = {**fresh.state_dict(), **fresh.file_tensors}
            given |= {name: made[name] for name in specs.keys() - given.keys()}
        built[target] = build(kind, config, target, layer, values=given)
    return built
