"""Write an attached adapter as peft would: a folder for ``PeftModel.from_pretrained``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from variants.exchange import stacked
from variants.exchange.folder import as_path, write
from variants.exchange.matching import plain_modules
from variants.exchange.method import Part
from variants.exchange.registry import by_variant
from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import is_conv1d
from variants.runtime.layers.stacks import Stack, module_at
from variants.runtime.layers.wrapped import unwrapped
from variants.runtime.state import Attachment, chosen

PREFIX = "base_model.model."


def export_peft(model: nn.Module, dir: str | os.PathLike[str], name: str | Sequence[str] | None = None) -> None:
    """Write one adapter of ``model`` to the folder ``dir``; the only one, if no ``name`` is given.

    ``PeftModel.from_pretrained(base, dir)`` then computes what ``model`` does, for lora, dora, eva, ia3, ia3_ff, hra,
    delora (not ``frozen_copies``) and road in the tensors' own dtype, and for pissa as a LoRA of rank 2r on the
    untouched base (see ``peft_lora``: what is rounded off in W_res is not taken along). peft turns half-precision
    adapters into float32 when it loads them. ``name`` may list several ia3 and ia3_ff adapters: peft holds them in one.

    Other files in ``dir`` stay; the two that are written replace older ones. Raises ``AdapterError``: a variant without
    a counterpart in peft, an unknown name, NaN or infinity, or a place that cannot be written; ``dir`` is then as it
    was. The format is that of peft 0.21 (``peft.utils.save_and_load``).
    """
    folder = as_path(dir, "export")
    model = unwrapped(model)
    where = f"export {folder}"
    attachments = _chosen(model, name, where)
    methods = {by_variant(each.variant, where).peft_type: by_variant(each.variant, where) for each in attachments}
    method = next(iter(methods.values()))
    if len(methods) > 1 or (len(attachments) > 1 and not method.several):
        raise AdapterError(
            got="the adapters " + ", ".join(f"{each.name} ({each.variant.name})" for each in attachments),
            want="one adapter, or several of ia3 and ia3_ff",
            where=where,
            fix="Export each into a folder of its own.",
        )
    if kept := [name for each in attachments for name in each.kept]:
        raise AdapterError(
            got=f"an adapter that trains {kept[0]} whole",
            want="one without modules_to_save",
            where=where,
            fix="Save it with save(), or attach without modules_to_save.",
        )
    modules = plain_modules(model)
    present = {id(adapter): target for target, layer in modules for adapter in layer.children()}
    stacks = [(target, stack) for target, layer in modules for stack in layer.children() if isinstance(stack, Stack)]
    present |= {id(each): f"{target}.{stack.parameter}" for target, stack in stacks for each in stack.children()}
    parts = tuple(_part(each, present, where) for each in attachments)
    if not method.conv1d:
        _refuse_conv1d(model, parts, where)
    places = stacked.places(model, [target for part in parts for target in part.layers])
    tensors = {
        f"{PREFIX}{places[target]}.{key}": tensor
        for part in parts
        for target, adapter in part.layers.items()
        for key, tensor in method.tensors_of(method, adapter).items()
    }
    _require_values(tensors, where)
    on_stacks = [f"{target}.{stack.parameter}" for target, stack in stacks]
    on_stacks = [target for part in parts for target in part.layers if target in on_stacks]
    fields = {
        **_about(model),
        "peft_type": method.peft_type,
        **method.fields_of(tuple(_without(part, on_stacks) for part in parts), [target for target, _ in modules]),
    }
    if on_stacks:
        fields[stacked.FIELD] = stacked.named_parameters(on_stacks, model)
    write(folder, fields, {key: tensor.cpu().contiguous() for key, tensor in tensors.items()})


def _chosen(model: nn.Module, name: str | Sequence[str] | None, where: str) -> list[Attachment]:
    if isinstance(name, str) or not isinstance(name, Sequence):
        return [chosen(model, name, where=where)]
    names = list(name)
    if not names or len(set(map(str, names))) < len(names):
        raise AdapterError(got=f"name={name!r}", want="different names", where=where, fix="See attachments(model).")
    return [chosen(model, each if isinstance(each, str) else repr(each), where=where) for each in names]


def _part(attachment: Attachment, present: dict[int, str], where: str) -> Part:
    """Layers are found by identity: a target may have been wrapped or moved since, and peft finds it by its name."""
    if "" in attachment.layers:
        raise AdapterError(
            got="an adapter on the model itself",
            want="one on a module inside of the model, which peft can name",
            where=where,
            fix="Attach to a model that holds the layer.",
        )
    if lost := [target for target, adapter in attachment.layers.items() if id(adapter) not in present]:
        raise AdapterError(
            got=f"a model without the adapter at {lost[0]}",
            want="the model it was attached to",
            where=where,
            fix="Attach or load it again.",
        )
    layers: dict[str, Adapter] = {present[id(adapter)]: adapter for adapter in attachment.layers.values()}
    return Part(attachment.variant, attachment.config, layers)


def _without(part: Part, targets: Sequence[str]) -> Part:
    return replace(part, layers={target: each for target, each in part.layers.items() if target not in targets})


def _refuse_conv1d(model: nn.Module, parts: tuple[Part, ...], where: str) -> None:
    odd = [target for part in parts for target in part.layers if is_conv1d(module_at(model, target))]
    if odd:
        raise AdapterError(
            got=f"{parts[0].variant.name} at {odd[0]}, a Conv1D",
            want="layers that peft puts this method on",
            where=where,
            fix="Save it with save(), or merge it. From a Conv1D lora, dora, pissa, eva, ia3, ia3_ff can be exported.",
        )


def _require_values(tensors: dict[str, Tensor], where: str) -> None:
    if absent := [key for key, tensor in tensors.items() if tensor.is_meta]:
        fix = "Export before the model goes to the meta device."
        raise AdapterError(got=f"{absent[0]} on meta", want="values", where=where, fix=fix)
    if broken := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        fix = "Go back to a state from before the training diverged."
        raise AdapterError(got=f"NaN or infinity in {', '.join(broken)}", want="finite values", where=where, fix=fix)


def _about(model: nn.Module) -> dict[str, Any]:
    """What peft notes down about the base model. Without a task type it needs the class to build it again."""
    path = getattr(model, "name_or_path", None)
    return {
        "auto_mapping": {"base_model_class": type(model).__name__, "parent_library": type(model).__module__},
        "base_model_name_or_path": path if isinstance(path, str) and path else None,
        "inference_mode": True,
        "revision": None,
        "task_type": None,
    }
