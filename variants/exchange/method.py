"""What one peft_type is, beside the variants here: its settings, its tensors, and a config from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from variants.exchange.matching import RULE_FIELDS, compiled
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.targets import Targets

COMMON_IDLE = frozenset(
    ("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode")
)
"""Settings that every method has and that say nothing about what the adapter computes."""


EMPTY_IS_NONE = ("modules_to_save", "target_parameters")
"""Settings of which peft takes an empty list for none at all."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Conversion:
    """How a tensor here becomes peft's, and back; ``shape`` does it to a shape."""

    to_peft: Callable[[Tensor], Tensor]
    from_peft: Callable[[Tensor], Tensor]
    shape: Callable[[Shape], Shape]


AS_IS = Conversion(lambda t: t, lambda t: t, lambda shape: shape)
TRANSPOSED = Conversion(lambda t: t.T, lambda t: t.T, lambda shape: shape[::-1])
COLUMN = Conversion(lambda t: t[:, None], lambda t: t[:, 0], lambda shape: (*shape, 1))
ROW = Conversion(lambda t: t[None, :], lambda t: t[0], lambda shape: (1, *shape))

Names = Mapping[str, tuple[str, Conversion]]
"""Name of a tensor here -> peft's name after the module's, and the conversion. A tensor that is not in it is no part of
the files: it is computed anew from the base."""
Settings = Mapping[str, Any]
"""The settings of a config that count, each with the value from the file or peft's default."""


@dataclass(frozen=True)
class Part:
    """One attachment to export: its config, and its adapters by the present names of their layers."""

    variant: type[Adapter]
    config: AdapterConfig
    layers: Mapping[str, Adapter]


@dataclass(frozen=True)
class Ask:
    """A config to make: for one layer (``target``) or for the attachment as a whole (None)."""

    settings: Settings
    variant: type[Adapter]
    targets: Targets
    dtype: str
    target: str | None = None

    @property
    def shared(self) -> dict[str, Any]:
        """What every config takes."""
        return {"targets": self.targets, "dtype": self.dtype}


def _tensors_as_named(method: PeftMethod, adapter: Adapter) -> dict[str, Tensor]:
    have = adapter.state_dict(keep_vars=True)
    return {
        peft: conversion.to_peft(have[own].detach()) for own, (peft, conversion) in method.names[type(adapter)].items()
    }


@dataclass(frozen=True)
class PeftMethod:
    """One peft_type.

    ``honoured``: settings that count, with peft's defaults (those that choose modules are added). ``off``: settings
    that cannot be honoured, with the value at which they do nothing and what they mean. ``idle``: settings about the
    start of training, which is over. ``names``: tensors per variant. ``variant_of(settings, target, where)`` says
    which variant a layer gets, ``config_of`` makes its config. ``fields_of(parts, modules)`` describes an export,
    ``tensors_of`` one adapter's tensors. ``several``: whether one peft adapter can hold several attachments.
    ``conv1d``: whether peft puts the method on transformers' Conv1D.
    """

    peft_type: str
    honoured: Mapping[str, Any]
    off: Mapping[str, tuple[Any, str]]
    idle: frozenset[str]
    names: Mapping[type[Adapter], Names]
    variant_of: Callable[[Settings, str, str], type[Adapter]]
    config_of: Callable[[Ask], AdapterConfig]
    fields_of: Callable[[tuple[Part, ...], list[str]], dict[str, Any]]
    tensors_of: Callable[[PeftMethod, Adapter], dict[str, Tensor]] = _tensors_as_named
    several: bool = False
    conv1d: bool = False
    rule: tuple[str, ...] = field(default=tuple(RULE_FIELDS))

    def settings(self, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The settings that count. Raises ``AdapterError`` naming every one that cannot be honoured.

        A setting unknown here (of a newer peft) passes only when it is null: {} can mean "on, with its defaults".
        """
        counted = {**self.honoured, **{key: RULE_FIELDS[key] for key in self.rule}}
        refused = []
        for key, value in sorted(fields.items()):
            if key in counted or key in self.idle | COMMON_IDLE:
                continue
            neutral, meaning = self.off.get(key, (None, "unknown here"))
            if value != neutral and not (value == [] and key in EMPTY_IS_NONE):
                refused.append(f"{key}={value!r} ({meaning})")
        if refused:
            raise AdapterError(
                got=f"{self.peft_type} with {'; '.join(refused)}",
                want="settings that can be honoured",
                where=where,
                fix="Train without them in peft. A setting that does nothing at this value may be taken out of the "
                "config by hand.",
            )
        return {key: fields.get(key, default) for key, default in counted.items()}


def mapping(settings: Settings, field: str, where: str) -> dict[str, Any]:
    """A setting that gives values by pattern."""
    value = {} if settings[field] is None else settings[field]
    if not isinstance(value, dict):
        fix = "Correct adapter_config.json."
        raise AdapterError(got=f"{field}={value!r}", want="values by pattern", where=where, fix=fix)
    return value


def patterns(settings: Settings, field: str, where: str) -> dict[str, Any]:
    """A setting that gives values by regular expressions for module names."""
    value = mapping(settings, field, where)
    for pattern in value:
        compiled(pattern, where)
    return value


def plain(number: float) -> float | int:
    """8 for 8.0, as peft writes it."""
    return int(number) if number == int(number) else number
