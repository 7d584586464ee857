"""Save an attached adapter and load it again: one safetensors file, config and base fingerprints in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from variants.runtime.adapter import Adapter
from variants.runtime.attach import build, fingerprint, place
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.refuse import find_free_targets
from variants.runtime.state import Attachment, attachments

FORMAT = 1
FIX = "Load the right file onto the right base model."


def save(model: nn.Module, path: str | os.PathLike[str], name: str | None = None) -> None:
    """Write one adapter of ``model`` to ``path``; the only one, if no ``name`` is given.

    The file appears whole or not at all (written beside ``path`` and renamed). Raises ``AdapterError`` for what could
    not be loaded again: tensors of another shape or dtype than the config's (the model was cast after ``attach``).
    """
    path = Path(path)
    attachment = _chosen(model, name)
    tensors = {key: t.detach().cpu().contiguous() for key, t in attachment.tensors().items()}
    configs = {target: adapter.config for target, adapter in attachment.layers.items()}
    sizes = {target: (adapter.d_in, adapter.d_out) for target, adapter in attachment.layers.items()}
    fix = "Cast the model back, or attach with the dtype you want to save."
    _require_specified(tensors, attachment.variant, configs, sizes, where=f"save {path}", fix=fix)
    metadata = {
        "format": str(FORMAT),
        "variant": attachment.variant.name,
        "name": attachment.name,
        "config": json.dumps(attachment.config.to_json(), sort_keys=True),
        "layers": json.dumps({target: each.to_json() for target, each in configs.items()}, sort_keys=True),
        "left_out": json.dumps(sorted(attachment.left_out)),
        "base": json.dumps(attachment.fingerprints, sort_keys=True),
    }
    metadata["digest"] = digest(metadata, tensors)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / "adapter"
        save_file(tensors, temporary, metadata)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)


def load(
    model: nn.Module, path: str | os.PathLike[str], *, name: str | None = None, variant: type[Adapter] | None = None
) -> Attachment:
    """Attach the adapter saved at ``path`` to ``model``, whose base must be the one it was saved with.

    Raises ``AdapterError``: unreadable or damaged file, unknown variant, newer format, another base, or a tensor that
    is missing, extra, misshapen or of another dtype. The model is then as it was.
    """
    path = Path(path)
    metadata, tensors = _read(path)
    variant, config, configs, saved_base, left_out = _understand(path, metadata, variant)
    name = metadata["name"] if name is None else name
    found = find_free_targets(model, config, name)
    _require_same(set(found) - set(left_out), set(saved_base), "target layers of this model", f"load {path}", FIX)
    found = {target: layer for target, layer in found.items() if target not in left_out}
    _require_same(set(configs), set(saved_base), "layers with a config", f"load {path}", FIX)
    for target, layer in found.items():
        if (here := fingerprint(layer)) != saved_base[target]:
            raise _error(
                path, f"base weight {here[:12]} at {target}", f"the one it was saved with, {saved_base[target][:12]}"
            )

    sizes = {target: (layer.in_features, layer.out_features) for target, layer in found.items()}
    _require_specified(tensors, variant, configs, sizes, where=f"load {path}", fix=FIX)  # type: ignore[arg-type]
    values: dict[str, dict[str, Tensor]] = {target: {} for target in found}
    for key, tensor in tensors.items():
        target, _, tensor_name = key.rpartition(".")
        values[target][tensor_name] = tensor
    built = {
        target: build(variant, configs[target], target, layer, values=values[target]) for target, layer in found.items()
    }
    return place(model, name, variant, config, built, left_out=left_out)


def _chosen(model: nn.Module, name: str | None) -> Attachment:
    there = attachments(model)
    if name is None and len(there) == 1:
        return next(iter(there.values()))
    if name is None or name not in there:
        raise AdapterError(
            got="no name" if name is None else repr(name),
            want="one of " + (", ".join(there) or "none attached"),
            where="save",
            fix="Pass name=, or attach an adapter first.",
        )
    return there[name]


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _error(path, str(error), "a readable safetensors file") from None
    if metadata.get("format", str(FORMAT)) != str(FORMAT):
        fix = "Load it with the version that wrote it."
        raise _error(path, f"format {metadata['format']}", f"format {FORMAT}", fix)
    wanted = ("format", "variant", "name", "config", "layers", "left_out", "base", "digest")
    missing = [key for key in wanted if key not in metadata]
    if missing:
        raise _error(path, f"metadata without {', '.join(missing)}", "an adapter written by save()")
    if (here := digest(metadata, tensors)) != metadata["digest"]:
        want = f"the digest in its metadata, {metadata['digest'][:12]}"
        raise _error(path, f"contents with digest {here[:12]}", want, "The file is damaged: save or copy it again.")
    return metadata, tensors


def digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over everything in the file but the digest itself: a changed alpha is as bad as a changed tensor."""
    rest = sorted((key, value) for key, value in metadata.items() if key != "digest")
    total = hashlib.sha256(json.dumps(rest).encode())
    for key in sorted(tensors):
        t = tensors[key]
        total.update(f"{key} {t.dtype} {tuple(t.shape)} ".encode())
        total.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _understand(
    path: Path, metadata: dict[str, str], variant: type[Adapter] | None
) -> tuple[type[Adapter], AdapterConfig, dict[str, AdapterConfig], dict[str, str], tuple[str, ...]]:
    from variants.registry import by_name

    try:
        variant = by_name(metadata["variant"]) if variant is None else variant
        config = variant.Config.from_json(json.loads(metadata["config"]))
        base = dict(json.loads(metadata["base"]))
        left_out = tuple(json.loads(metadata["left_out"]))
        configs = {t: variant.Config.from_json(each) for t, each in json.loads(metadata["layers"]).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fix = "Load it with the version that wrote it, or pass variant= for a variant of your own."
        raise _error(path, f"metadata it cannot use ({error})", "a variant and a config known here", fix) from error
    if variant.name != metadata["variant"]:
        raise _error(path, f"variant {metadata['variant']!r}", f"{variant.name!r}, as asked for")
    return variant, config, configs, base, left_out


def _require_specified(
    tensors: dict[str, Tensor],
    variant: type[Adapter],
    configs: dict[str, AdapterConfig],
    sizes: dict[str, tuple[int, int]],
    *,
    where: str,
    fix: str,
) -> None:
    """Exactly the tensors of the variant on layers of these ``(d_in, d_out)``, in the dtype of their configs."""
    specs = {
        f"{target}.{key}": (spec, configs[target].torch_dtype)
        for target, size in sizes.items()
        for key, spec in variant.specs(configs[target], *size).items()
    }
    _require_same(set(tensors), set(specs), "tensors", where, fix)
    for key, t in tensors.items():
        spec, dtype = specs[key]
        got, want = (tuple(t.shape), t.dtype), (tuple(spec.shape), dtype)
        if got != want:
            raise AdapterError(got=f"{key} with {got[0]}, {got[1]}", want=f"{want[0]}, {want[1]}", where=where, fix=fix)


def _require_same(got: set[str], want: set[str], what: str, where: str, fix: str) -> None:
    missing, extra = sorted(want - got), sorted(got - want)
    if missing or extra:
        got_text = f"{what}: missing {missing or 'none'}, extra {extra or 'none'}"
        raise AdapterError(got=got_text, want="neither", where=where, fix=fix)


def _error(path: Path, got: Any, want: str, fix: str = FIX) -> AdapterError:
    return AdapterError(got=got, want=want, where=f"load {path}", fix=fix)
