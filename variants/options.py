"""Options of a config, documented where they are declared: meaning, range, symbol in the formula, names elsewhere.

``option`` declares a field with its documentation. ``documented`` writes that of all fields, inherited ones included,
into the class's docstring: ``help(LoRAConfig)`` shows it. ``docs/variants/`` is generated from the same documentation.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

NONE = "-"
"""What stands for a name that a paper, or peft, does not have."""

KEY = "option"
"""Key of the documentation in the field's metadata."""

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """The documentation of one option of a config."""

    meaning: str
    range: str
    """The values that the config accepts."""
    change: str
    """When to use another value than the default."""
    symbol: str = NONE
    """What it is in the formula at the top of the variant's file."""
    paper: str = NONE
    peft: str = NONE

    def lines(self, name: str, default: str) -> list[str]:
        """The option in the form of the docstring: the name with its meaning, then one line per fact."""
        names = {"formula": self.symbol, "paper": self.paper, "peft": self.peft}
        facts = {"default": default, "range": self.range, **names}
        return [
            f"{name}: {self.meaning}.",
            *(f"    {key}: {value}" for key, value in facts.items()),
            f"    change: {self.change}.",
        ]


def option(
    default: Any = dataclasses.MISSING,
    meaning: str = "",
    *,
    range: str,
    change: str,
    symbol: str = NONE,
    paper: str = NONE,
    peft: str = NONE,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A dataclass field with its documentation. ``factory`` makes the default where ``default`` is not given."""
    metadata = {KEY: Option(meaning, range, change, symbol, paper, peft)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_of(config: type) -> dict[str, tuple[Option, str]]:
    """Every option with its default as text, the method's own ones first. KeyError if one is undocumented."""
    fields = sorted(dataclasses.fields(config), key=lambda f: f.name in ("targets", "dtype"))
    return {field.name: (field.metadata[KEY], default_of(field)) for field in fields}


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default as one would write it."""
    if field.default_factory is not dataclasses.MISSING:
        return f"{field.default_factory.__name__}()"  # type: ignore[attr-defined]
    return repr(field.default)


IN_PEFT = {
    "use_dora": "use DoRAConfig",
    "target_modules": "write targets=Targets(include=...)",
    "exclude_modules": "write targets=Targets(exclude=...)",
    "layers_to_transform": "write targets=Targets(layers=...)",
    "feedforward_modules": "attach IA3FFConfig to these layers, and IA3Config to the others",
    "modules_to_save": "pass it to attach(model, config, modules_to_save=...)",
    "fan_in_fan_out": "leave it out: it follows from the layer's class",
    "task_type": "leave it out: no model is wrapped",
    "inference_mode": "leave it out: call model.eval()",
    "rank_pattern": "attach several configs to disjoint targets; import_peft reads files that have it",
    "alpha_pattern": "attach several configs to disjoint targets; import_peft reads files that have it",
    "target_parameters": "there is no counterpart: adapters go on linear layers",
    "bias": "there is no counterpart: the base's biases stay frozen",
}
"""Arguments of peft's configs that no single option here stands for, and what to do in their place."""


OTHER_NAMES = {"rank": "r", "dim": "r", "scale": "alpha", "scaling": "alpha", "p": "dropout", "modules": "targets"}
"""Words for options that neither peft nor a paper uses, and that no spelling is near."""


def advice(config: type, unknown: str) -> str:
    """What to write in place of an option that this config does not have: peft's name for one, or a misspelt one."""
    own = options_of(config)
    for name, (each, _) in own.items():
        if unknown in re.findall(r"[a-z_A-Z]+", each.peft.partition(":")[0].rpartition(".")[2]) and name != "targets":
            return f"Did you mean {name}? That is what peft calls {unknown}."
    if unknown in IN_PEFT:
        return f"peft has {unknown}; here {IN_PEFT[unknown]}."
    near = [OTHER_NAMES[unknown]] if OTHER_NAMES.get(unknown) in own else difflib.get_close_matches(unknown, own, n=1)
    return f"Did you mean {near[0]}?" if near else f"See help({config.__name__})."


def documented(config: type[T]) -> type[T]:
    """The config class with every option in its docstring."""
    lines = [line for name, (each, default) in options_of(config).items() for line in each.lines(name, default)]
    config.__doc__ = "\n".join([(config.__doc__ or "").strip(), "", "Options:", "", *lines])
    return config
