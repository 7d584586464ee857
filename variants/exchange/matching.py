"""Which modules peft's settings name, by peft's own rules (``peft.tuners.tuners_utils``), and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError
from variants.runtime.layers.stacks import Stack

ALL_LINEAR = "all-linear"
CLASSIFIER_HEADS = ("score", "classifier")
RULE_FIELDS: dict[str, Any] = {
    "target_modules": None,
    "exclude_modules": None,
    "layers_to_transform": None,
    "layers_pattern": None,
}
"""The settings that choose modules, with peft's defaults. Not every method of peft has all of them."""


@dataclass(frozen=True)
class Rule:
    """A string is a regular expression for the whole name; of a list, an entry is a whole name or its last parts.

    ``numbers``: blocks to keep, told by the first number that follows two parts of the name, or one of ``patterns``.
    They do not filter a module that ``targets`` gives by its whole name.
    """

    targets: str | tuple[str, ...]
    excluded: str | tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    patterns: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether peft would put an adapter on the module of this name."""
        if matches(name, self.excluded):
            return False
        if isinstance(self.targets, str) or name in self.targets:
            return matches(name, self.targets)
        return matches(name, self.targets) and (not self.numbers or self._number(name) in self.numbers)

    def _number(self, name: str) -> int | None:
        if not self.patterns:
            parts = name.split(".")
            return next((int(part) for part in parts[2:-1] if part.isdecimal()), None)
        found = (re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name) for pattern in self.patterns)
        return next((int(match.group(1)) for match in found if match), None)


def matches(name: str, chosen: str | Sequence[str]) -> bool:
    """peft's rule for a string and for a list."""
    if isinstance(chosen, str):
        return re.fullmatch(chosen, name) is not None
    return any(name == each or name.endswith(f".{each}") for each in chosen)


def rule_of(settings: Mapping[str, Any], model: nn.Module, task_type: Any, where: str) -> Rule:
    """The settings' rule for this model. Raises ``AdapterError`` for settings that peft refuses, too."""
    targets = settings["target_modules"]
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        targets = all_linear(model, task_type)
    targets, excluded = (
        _names(each, field, where)
        for each, field in ((targets, "target_modules"), (settings.get("exclude_modules"), "exclude_modules"))
    )
    if not targets:
        fix = "Name the layers in adapter_config.json."
        raise AdapterError(got="no target_modules", want="names or a regular expression", where=where, fix=fix)
    numbers, patterns = settings.get("layers_to_transform"), settings.get("layers_pattern")
    numbers = [numbers] if type(numbers) is int else [] if numbers is None else numbers
    patterns = [patterns] if isinstance(patterns, str) and patterns else patterns or []
    sound = isinstance(numbers, list) and all(type(n) is int for n in numbers)
    if not sound or (patterns and not numbers) or (isinstance(targets, str) and (numbers or patterns)):
        raise AdapterError(
            got=f"layers_to_transform={settings.get('layers_to_transform')!r} with layers_pattern={patterns!r}",
            want="numbers of blocks, beside target_modules that are a list",
            where=where,
            fix="peft refuses this as well: correct adapter_config.json.",
        )
    for pattern in (targets, excluded, *patterns):
        if isinstance(pattern, str):
            compiled(pattern, where)
    return Rule(targets, excluded, tuple(numbers), tuple(_names(patterns, "layers_pattern", where)))


def all_linear(model: nn.Module, task_type: Any) -> list[str]:
    """What ``all-linear`` stands for: ``nn.Linear`` and transformers' Conv1D, without the output head."""
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    if head is None and task_type == "SEQ_CLS":
        head = next((getattr(model, name) for name in CLASSIFIER_HEADS if hasattr(model, name)), None)
    return [
        name
        for name, module in plain_modules(model)
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and module is not head
    ]


def plain_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that are there without adapters, but for the model itself."""
    own = (Adapter, Stack)
    return [(name, module) for name, module in model.named_modules() if name and not isinstance(module, own)]


def pattern_value(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of ``name`` (a regular expression, after a dot if any)."""
    key = next((each for each in patterns if re.match(rf"(.*\.)?({each})$", name)), name)
    return patterns.get(key, default)


def compiled(pattern: str, where: str) -> re.Pattern[str]:
    """A regular expression, or ``AdapterError``."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        fix = "Correct adapter_config.json."
        raise AdapterError(got=f"{pattern!r} ({error})", want="a regular expression", where=where, fix=fix) from error


def named(chosen: Iterable[str], modules: Iterable[str]) -> list[str] | str:
    """``target_modules`` that take exactly the ``chosen`` ones of ``modules``: short names if they do, else longer."""
    chosen, modules = sorted(chosen), list(modules)
    for names in (sorted({name.rpartition(".")[2] for name in chosen}), chosen):
        if sorted(name for name in modules if matches(name, names)) == chosen:
            return names
    return exactly(chosen)


def exactly(names: Iterable[str]) -> str:
    """A regular expression for these whole names."""
    return "|".join(re.escape(name) for name in sorted(names))


def patterns_of(values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """``rank_pattern`` and the like: an entry per layer whose value is not the default."""
    other = {name: value for name, value in values.items() if value != default}
    ordered = dict(sorted(other.items()))  # as they are in the file, where the first one that matches counts
    if all(pattern_value(ordered, name, default) == value for name, value in values.items()):
        return ordered
    return {f"^{re.escape(name)}": value for name, value in ordered.items()}


def _names(value: Any, field: str, where: str) -> str | tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    fix = "Correct adapter_config.json."
    raise AdapterError(got=f"{field}={value!r}", want="a list of names or a string", where=where, fix=fix)
