"""A variant of this repository as a subject: real calls of ``attach``, ``save``, ``load``, ``merge`` and ``detach``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from conformance.nouns.lifecycle import Lifecycle, Pair
from refs.calibration import batches
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from variants import (
    VARIANTS,
    Targets,
    attach,
    attachments,
    detach,
    export_peft,
    import_peft,
    load,
    merge,
    save,
    unmerge,
)
from variants.runtime.adapter import Adapter
from variants.runtime.layers.kinds import sizes_of

ON_THE_LAYER = Targets(include=("layer",))
NAMES = ("first", "second")


def attached(variant: type[Adapter], layer: nn.Linear, settings: Settings) -> Subject:
    """A variant of this repository as a subject: a real ``attach`` to a model of one layer."""
    options = {**dict(settings.options), **({} if settings.dtype is None else {"dtype": settings.dtype})}
    data = _batches(options.pop("calibration", None), layer)
    config = variant.Config(targets=ON_THE_LAYER, **options, **_sizes(variant, settings))
    host = Host(layer)
    attach(host, config, calibration=data, variant=variant)
    return _subject(variant, host, "layer")


def _batches(kind: str | None, layer: nn.Linear) -> list[dict[str, Tensor]] | None:
    """Calibration as a user would pass it: batches of inputs, with the mask where there is padding."""
    if kind is None:
        return None
    dtype = layer.weight.dtype if layer.weight.is_floating_point() else torch.float32  # codes have no inputs' dtype
    made = batches(kind, sizes_of(layer)[0], dtype)
    return [{"x": b.x} if b.mask is None else {"x": b.x, "attention_mask": b.mask} for b in made]


def stacked(
    variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool
) -> dict[str, Tensor]:
    """Attach by calibration to two layers in a row, or to the second only; the second one's tensors."""
    options = dict(settings.options)
    data = _batches(options.pop("calibration"), layers[0])
    targets = Targets(include=("0", "1") if both else ("1",))
    host = nn.Sequential(*layers)
    assert data is not None
    config = variant.Config(targets=targets, **options, **_sizes(variant, settings))
    attachment = attach(host, config, calibration=[batch["x"] for batch in data], variant=variant)
    return {name: tensor.detach().clone() for name, tensor in attachment.layers["1"].state_dict().items()}


def put_on(
    variant: type[Adapter],
    model: nn.Module,
    targets: tuple[str, ...],
    settings: Settings,
    batches: Sequence[Mapping[str, Tensor]],
) -> None:
    """Attach to layers of a whole model. The batches are for a method that is asked to look at data."""
    options = dict(settings.options)
    data = batches if options.pop("calibration", None) else None
    config = variant.Config(targets=Targets(include=targets), **options, **_sizes(variant, settings))
    attach(model, config, calibration=data, variant=variant)


def _sizes(variant: type[Adapter], settings: Settings) -> dict[str, Any]:
    fields = variant.Config.__dataclass_fields__
    return {key: value for key, value in (("r", settings.r), ("alpha", settings.alpha)) if key in fields}


def ranks_of(
    variant: type[Adapter], model: nn.Module, rows: Sequence[Tensor], settings: Settings
) -> dict[str, tuple[int, float]]:
    """Rank and scale of every layer after attaching to all of them, by calibration."""
    options = {key: value for key, value in settings.options if key != "calibration"}  # the rows are given
    config = variant.Config(**options, **_sizes(variant, settings))
    layers = attach(model, config, calibration=rows, variant=variant).layers
    return {name: (adapter.config.r, adapter.config.scale) for name, adapter in layers.items()}


def starts_of(
    variant: type[Adapter], model: nn.Module, rows: Sequence[Tensor], settings: Settings, layers: tuple[str, ...]
) -> dict[str, Tensor]:
    """A of each of these layers after attaching to them, by calibration."""
    options = {key: value for key, value in settings.options if key != "calibration"}  # the rows are given
    config = variant.Config(targets=Targets(include=layers), **options, **_sizes(variant, settings))
    made = attach(model, config, calibration=rows, variant=variant).layers
    return {name: adapter.get_parameter("A").detach().clone() for name, adapter in made.items()}


def lifecycle_of(variant: type[Adapter]) -> Lifecycle:
    """What this repository's runtime does with an adapter of this class."""
    known = variant in VARIANTS  # peft's files speak of methods, not of somebody's class
    return Lifecycle(
        detach=lambda subject: detach(subject.host),
        save=lambda subject, path: save(subject.host, path),
        load=lambda layer, path: loaded(variant, layer, path),
        merge=lambda subject: merge(subject.host),
        unmerge=lambda subject: unmerge(subject.host),
        to_peft=(lambda subject, folder: export_peft(subject.host, folder)) if known else None,
        from_peft=(lambda layer, folder: imported(variant, layer, folder)) if known else None,
        steer=steer,
        several=lambda layers, settings: several(variant, layers, settings),
        pair=lambda layers, settings: pair(variant, layers, settings),
    )


def steer(subject: Subject, coeff: float) -> None:
    """Set the coefficient of every adapter at run time."""
    for attachment in attachments(subject.host).values():
        attachment.steer(coeff)


def several(variant: type[Adapter], layers: tuple[nn.Linear, ...], settings: Settings) -> tuple[dict[str, Tensor], ...]:
    """The tensors on each of some layers with one input, after one call of ``attach`` for all."""
    options = dict(settings.options)
    data = _batches(options.pop("calibration", None), layers[0])
    if settings.dtype is not None:
        options["dtype"] = settings.dtype
    model = _SideBySide(layers)
    targets = Targets(include=tuple(str(i) for i in range(len(layers))))
    config = variant.Config(targets=targets, **options, **_sizes(variant, settings))
    made = attach(model, config, calibration=data, variant=variant).layers
    return tuple(dict(made[str(i)].state_dict(keep_vars=True)) for i in range(len(layers)))


class _SideBySide(nn.ModuleList):
    """Layers that see one input; their outputs are added. A mask is for calibration."""

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return torch.stack([layer(x) for layer in self]).sum(0)


def loaded(variant: type[Adapter], layer: nn.Linear, path: Path) -> Subject:
    """A saved adapter on a plain layer, as a subject. Calibration data are not at hand."""
    host = Host(layer)
    load(host, path, variant=variant)
    return _subject(variant, host, "layer")


def imported(variant: type[Adapter], layer: nn.Linear, folder: Path) -> Subject:
    """What peft saved, on a plain layer, as a subject."""
    host = Host(layer)
    import_peft(host, folder)
    return _subject(variant, host, "layer")


def pair(variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings) -> Pair:
    """Two adapters, attached one after the other to the layers of one model."""
    options, model = dict(settings.options), nn.Sequential(*layers)
    data = _batches(options.pop("calibration", None), layers[0])
    if settings.dtype is not None:
        options["dtype"] = settings.dtype
    for target in ("0", "1"):
        config = variant.Config(targets=Targets(include=(target,)), **options, **_sizes(variant, settings))
        calibration = None if data is None else [batch["x"] for batch in data]
        attach(model, config, calibration=calibration, variant=variant, name=NAMES[int(target)])
    return _pair(variant, model)


def _pair(variant: type[Adapter], model: nn.Sequential) -> Pair:
    def load_both(layers: tuple[nn.Linear, nn.Linear], paths: tuple[Path, Path]) -> Pair:
        fresh = nn.Sequential(*layers)
        for path in paths:
            load(fresh, path, variant=variant)
        return _pair(variant, fresh)

    return Pair(
        model,
        (_subject(variant, model, "0"), _subject(variant, model, "1")),
        detach=lambda which: detach(model, NAMES[which]),
        save=lambda which, path: save(model, path, NAMES[which]),
        load=load_both,
    )


def _subject(variant: type[Adapter], model: nn.Module, target: str) -> Subject:
    layer = model.get_submodule(target)
    adapter: Any = layer.get_submodule("adapter")
    assert isinstance(adapter, Adapter)
    # What is only kept for the file is no tensor of the layer.
    listed = variant.specs(adapter.config, *sizes_of(layer))
    names = [name for name, spec in listed.items() if not spec.kept]
    return Subject(model, cast(nn.Linear, layer), {name: (f"{target}.adapter.{name}", AS_IS) for name in names})
