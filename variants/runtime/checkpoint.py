"""Save an attached adapter and load it again: one safetensors file, config and base fingerprints in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from variants.runtime.adapter import Adapter
from variants.runtime.atomic_file import read_whole, write_whole
from variants.runtime.attach import build, place
from variants.runtime.config import DTYPES, AdapterConfig
from variants.runtime.errors import AdapterError, differences, mismatches, some
from variants.runtime.fingerprint import differ_in_scales_only, fingerprint, kind_of, shortened, without_scales
from variants.runtime.layers.kept import FIELD, PREFIX, find_kept, names_in, put, require_values, values_of
from variants.runtime.layers.kinds import is_linear_like
from variants.runtime.layers.sharded import gathered
from variants.runtime.layers.stacks import stacks_in
from variants.runtime.layers.wrapped import refuse_wrapped
from variants.runtime.numerics.finite import all_finite
from variants.runtime.refuse import find_free_targets, refuse_other_variant
from variants.runtime.spec import TensorSpec
from variants.runtime.state import Attachment, chosen

FIX = "Load it onto the model that the adapter was trained on, or load another file."
KEYS = ("variant", "name", "config", "layers", "left_out", "base")


def save(model: nn.Module, path: str | os.PathLike[str], name: str | None = None) -> None:
    """Write one adapter of ``model`` to ``path``; the only one, if no ``name`` is given.

    A kill at any moment leaves the old file or the new one (``variants.runtime.atomic_file``). Where tensors are
    sharded over processes (FSDP2), all of these call it together; the tensors are gathered, the first process writes.

    Raises ``AdapterError`` for what could not be loaded again, tensors of another shape or dtype than the config's (the
    model was cast after ``attach``); for NaN or infinity, which would replace a good file by a useless one; and where
    the file cannot be written. The old file is then still there.
    """
    attachment = chosen(model, name, where="save")
    path = _path(path, "save")
    _require_there(model, attachment, f"save {path}")
    tensors = {key: t.detach() for key, t in attachment.tensors().items()}
    if absent := [key for key, t in tensors.items() if t.is_meta]:
        fix = "Save before the model goes to the meta device."
        raise AdapterError(got=f"{', '.join(absent)} on meta", want="values", where=f"save {path}", fix=fix)
    tensors, writes = gathered(tensors)
    tensors = {key: t.cpu().contiguous() for key, t in tensors.items()}
    configs = {target: adapter.config for target, adapter in attachment.layers.items()}
    specs = {target: adapter.own_specs() for target, adapter in attachment.layers.items()}
    fix = "Cast the model back, or attach with the dtype you want to save."
    _require_specified(tensors, specs, configs, where=f"save {path}", fix=fix)
    whole, writes_kept = gathered({key: t.detach() for key, t in values_of(attachment.kept).items()})
    kept = {key: t.cpu().contiguous() for key, t in whole.items()}
    require_values(attachment.kept, kept, f"save {path}")
    metadata = {
        "variant": attachment.variant.name,
        "name": attachment.name,
        "config": json.dumps(attachment.config.to_json(), sort_keys=True),
        "layers": json.dumps({target: each.to_json() for target, each in configs.items()}, sort_keys=True),
        "left_out": json.dumps(sorted(attachment.left_out)),
        "base": json.dumps(attachment.fingerprints, sort_keys=True),
        **({FIELD: json.dumps(sorted(attachment.kept))} if attachment.kept else {}),
    }
    if writes and writes_kept:
        write_whole(path, {**tensors, **kept}, metadata)


def load(
    model: nn.Module, path: str | os.PathLike[str], *, name: str | None = None, variant: type[Adapter] | None = None
) -> Attachment:
    """Attach the adapter saved at ``path`` to ``model``, whose base must be the one it was saved with, bit for bit.

    The adapter's tensors go where each layer's weight is, and its training flag is the layer's, whatever device and
    mode it was saved in. A base in another dtype is another base: what was trained beside float32 weights is not what
    acts beside their bfloat16 rounding. Load onto the saved dtype and cast the model afterwards.

    Raises ``AdapterError``: unreadable or damaged file, unknown variant, other format, another base, or tensors that
    are missing, extra, misshapen, of another dtype or not finite. The model is then as it was.
    """
    from variants.registry import on_layer

    path = _path(path, "load")
    refuse_wrapped(model, f"load {path}")
    metadata, tensors = read_whole(path)
    saved = _understand(path, metadata, variant)
    name = saved.name if name is None else name
    where = f"load {path}"
    found = _targets(model, saved, name, where)
    kept = find_kept(model, names_in(metadata, where))
    values_kept = {key: tensors.pop(key) for key in list(tensors) if key.startswith(PREFIX)}
    require_values(kept, values_kept, where)
    _require_same(set(found) - set(saved.left_out), set(saved.base), "target layers of this model", where)
    _require_same(set(saved.configs), set(saved.base), "layers with a config", where)
    found = {target: layer for target, layer in found.items() if target not in saved.left_out}
    _require_base({target: fingerprint(layer) for target, layer in found.items()}, saved.base, where)

    kinds = {target: on_layer(saved.variant, layer) for target, layer in found.items()}
    specs = {target: kinds[target].specs_on(saved.configs[target], layer) for target, layer in found.items()}
    _require_specified(tensors, specs, saved.configs, where=where, fix=FIX)
    values: dict[str, dict[str, Tensor]] = {target: {} for target in found}
    for key, tensor in tensors.items():
        target, _, tensor_name = key.rpartition(".")
        values[target][tensor_name] = tensor
    built = {
        target: build(kinds[target], saved.configs[target], target, layer, values=values[target])
        for target, layer in found.items()
    }
    left = dict.fromkeys(saved.left_out, "without an adapter in the file")
    attachment = place(model, name, saved.variant, saved.config, built, left=left, kept=kept)
    put(kept, values_kept)
    return attachment


def _targets(model: nn.Module, saved: _Saved, name: str, where: str) -> dict[str, nn.Module]:
    """The targets of the saved config. A part of the saved model, or a model around it, is told by its names."""
    layers = [layer for layer, module in model.named_modules() if is_linear_like(module)]
    for outer, inner, what in ((saved.base, layers, "a part of"), (layers, saved.base, "a model around")):
        prefix = _prefix(outer, inner)
        if prefix:
            raise AdapterError(
                got=f"{what} the model that the adapter was saved from: {prefix!r} is the difference of all names",
                want="that model itself",
                where=where,
                fix=f"Pass the model of which this is .{prefix}." if what == "a part of" else f"Pass model.{prefix}.",
            )
    stacks = [target for target, _, _ in stacks_in(model)]
    if saved.base and not set(saved.base) & {*layers, *stacks}:
        raise AdapterError(
            got=f"the layers of this adapter ({some(saved.base)}) do not exist in this model. Linear layers here: "
            + (some(layers) or "none"),
            where=where,
            fix=FIX,
        )
    return find_free_targets(model, saved.config, name)


def _prefix(outer: Iterable[str], inner: Iterable[str]) -> str:
    """What stands before every name of ``inner`` that is in ``outer`` with it; empty where the names are the same."""
    ends, inner = set(outer), list(inner)
    if not inner or ends & set(inner):
        return ""
    first = next((each for each in sorted(ends) for name in inner if each.endswith(f".{name}")), "")
    prefixes = {first[: -len(name) - 1] for name in inner if first.endswith(f".{name}")}
    for prefix in sorted(prefixes, key=len):
        here = {f"{prefix}.{name}" for name in inner}
        if ends <= here or here <= ends:
            return prefix
    return ""


@dataclass(frozen=True)
class _Saved:
    """What the metadata of a file say."""

    variant: type[Adapter]
    name: str
    config: AdapterConfig
    configs: dict[str, AdapterConfig]
    base: dict[str, str]
    left_out: tuple[str, ...]


def _understand(path: Path, metadata: dict[str, str], variant: type[Adapter] | None) -> _Saved:
    from variants.registry import by_name

    where = f"load {path}"
    if missing := [key for key in KEYS if key not in metadata]:
        got = f"the file was not written by save(): its metadata lack {', '.join(missing)}"
        raise AdapterError(got=got, where=where, fix="Pass the path of a file that save() wrote.")
    if variant is not None:
        refuse_other_variant(variant, where)
    try:
        variant = by_name(metadata["variant"]) if variant is None else variant
        saved = _Saved(
            variant,
            metadata["name"],
            variant.Config.from_json(json.loads(metadata["config"])),
            {t: variant.Config.from_json(each) for t, each in json.loads(metadata["layers"]).items()},
            _names(dict(json.loads(metadata["base"]))),
            tuple(_names(dict.fromkeys(json.loads(metadata["left_out"]), ""))),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = f"metadata it cannot use ({error})"
        fix = "Load it with the version that wrote it, or pass variant= for a variant of your own."
        raise AdapterError(got=got, want="a variant and a config known here", where=where, fix=fix) from error
    if variant.name != metadata["variant"]:
        got, want = f"variant {metadata['variant']!r}", f"{variant.name!r}, as asked for"
        raise AdapterError(got=got, want=want, where=where, fix=FIX)
    return saved


def _names(data: dict[Any, Any]) -> dict[str, str]:
    if wrong := [each for pair in data.items() for each in pair if not isinstance(each, str)]:
        raise TypeError(f"{wrong[0]!r} where a string belongs")
    return data


def _require_base(got: dict[str, str], want: dict[str, str], where: str) -> None:
    """The layers' weights are those that the adapter was attached to: dtype, shape and bytes, or codes and scales."""
    others = [target for target in got if got[target] != want[target]]
    if not others:
        return
    first = others[0]
    raise AdapterError(
        got=f"the base is another one: {len(others)} of {len(got)} layers have other weights, first {first}: "
        + _how_other(got[first], want[first]),
        where=where,
        fix=_other_base({want[t]: got[t] for t in others}),
    )


def _how_other(got: str, want: str) -> str:
    """In words: another dtype or shape, or the same with other numbers."""
    if got.split(" ")[:2] == want.split(" ")[:2]:
        numbers = [shortened(" ".join(each.split(" ")[2:])) for each in (got, want)]
        told = " ".join(got.split(" ")[:2])
        return f"the same dtype and shape ({told}), other numbers ({numbers[0]}, in the file {numbers[1]})"
    return f"{shortened(got)}, in the file {shortened(want)}"


def _other_base(pairs: dict[str, str]) -> str:
    """What to do about bases that are not the wanted ones."""
    if all(differ_in_scales_only(got, want) for want, got in pairs.items()):
        return (
            "The codes are the same and the scales are not: load the base from where it came from, and not from a "
            "state_dict() that was taken after a call, for which bitsandbytes quantises scales anew on some CPUs."
        )
    if any(without_scales(want) and not without_scales(got) for want, got in pairs.items()):
        return "A file from a version that did not look at scales: load it with that version, or attach and train anew."
    kinds = {kind_of(want) for want, got in pairs.items() if kind_of(got) != kind_of(want)}
    if not kinds:
        return FIX
    if kinds <= set(DTYPES):
        return f"Load onto the base in {', '.join(sorted(kinds))} and cast the model afterwards."
    return f"Load onto the base in {', '.join(sorted(kinds))}, as it was when the adapter was saved."


def _require_specified(
    tensors: dict[str, Tensor],
    of_layers: dict[str, dict[str, TensorSpec]],
    configs: dict[str, AdapterConfig],
    *,
    where: str,
    fix: str,
) -> None:
    """Exactly the tensors that these specs of the layers name, in their configs' dtype, and finite."""
    specs = {
        f"{target}.{key}": (spec, configs[target].torch_dtype)
        for target, own in of_layers.items()
        for key, spec in own.items()
    }
    wrong = []
    for key in sorted(set(tensors) & set(specs)):
        (spec, dtype), t = specs[key], tensors[key]
        if (tuple(t.shape), t.dtype) != (tuple(spec.shape), dtype):
            wrong.append((key, f"{tuple(t.shape)}, {t.dtype}", f"{tuple(spec.shape)}, {dtype}"))
    if told := "; ".join(filter(None, (differences(tensors, specs), mismatches(wrong, len(specs))))):
        raise AdapterError(got=f"tensors: {told}", where=where, fix=fix)
    if broken := [key for key, t in tensors.items() if not all_finite(t)]:
        fix = "Go back to a state from before the training diverged."
        raise AdapterError(got=f"NaN or infinity in {', '.join(broken)}", want="finite values", where=where, fix=fix)


def _require_same(got: set[str], want: set[str], what: str, where: str) -> None:
    if told := differences(got, want):
        raise AdapterError(got=f"{what}: {told}", where=where, fix=FIX)


def _require_there(model: nn.Module, attachment: Attachment, where: str) -> None:
    """An adapter whose layer has been replaced (``resize_token_embeddings`` does so to a head) is not at work."""
    there = {id(module) for module in model.modules()}
    if lost := [target for target, adapter in attachment.layers.items() if id(adapter) not in there]:
        raise AdapterError(
            got=f"a model without the adapter at {lost[0]}: another layer has taken its place",
            want="the model it was attached to",
            where=where,
            fix="Change the model's layers first (resize_token_embeddings, say), and attach then.",
        )


def _path(path: Any, where: str) -> Path:
    try:
        return Path(path)
    except TypeError as error:
        raise AdapterError(got=repr(path), want="a path", where=where, fix="Pass a string or a Path.") from error
