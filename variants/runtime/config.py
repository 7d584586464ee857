"""Configuration of one adapter: validated when made, written to and read from JSON."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from dataclasses import dataclass
from typing import Any, Self

import torch

from variants.options import advice, option, options_of
from variants.runtime.errors import AdapterError
from variants.runtime.targets import Targets

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What every method has: which modules it targets, and the dtype of its tensors (float32, whatever the base is).

    ``dtype`` may be given as ``torch.bfloat16`` or ``"bfloat16"``; it is stored by name.
    """

    targets: Targets = option(
        meaning="the linear layers that get an adapter",
        factory=Targets,
        range="a Targets: include, exclude, roles, layers, parameters",
        peft="target_modules, exclude_modules, layers_to_transform, target_parameters",
        change="to adapt some layers only; the default takes every linear layer but the output head",
    )
    dtype: str = option(
        "float32",
        "dtype of the adapter's tensors, whatever the base's dtype is",
        range=", ".join(DTYPES),
        peft="autocast_adapter_dtype, an argument of get_peft_model",
        change="bfloat16 halves the adapter's memory, but small steps round away (see Dtype on the variant's card)",
    )

    def __new__(cls, /, *args: Any, **options: Any) -> Self:
        """Raise ``AdapterError`` for an unknown option, with what may be meant."""
        known = [f.name for f in dataclasses.fields(cls)]
        if args:
            first = next(iter(options_of(cls)))
            example = "Targets(...)" if first == "targets" else repr(args[0])
            fix = f"Options are keyword-only: {cls.__name__}({first}={example})."
            raise AdapterError(got=f"{args[0]!r} without the name of an option", where=cls.__name__, fix=fix)
        if unknown := [name for name in options if name not in known]:
            raise AdapterError(
                got="the option " + ", ".join(unknown),
                want="one of " + ", ".join(known),
                where=cls.__name__,
                fix=" ".join(advice(cls, name) for name in unknown),
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if isinstance(self.dtype, torch.dtype):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        self.require_choice("dtype", self.dtype, tuple(DTYPES))
        self.require_targets()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype object that ``dtype`` names."""
        return DTYPES[self.dtype]

    def require(self, ok: bool, field: str, got: object, want: str, fix: str = "") -> None:
        """Raise ``AdapterError`` naming the field unless ``ok``."""
        if not ok:
            raise AdapterError(got=repr(got), want=want, where=f"{type(self).__name__}.{field}", fix=fix)

    def require_targets(self) -> None:
        """Names alone are no ``Targets``: whether to include or to exclude them would be a guess."""
        if isinstance(self.targets, Targets):
            return
        given: Any = self.targets
        names = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple | set) else []
        example = tuple(names) if names and all(isinstance(n, str) for n in names) else ("q_proj", "v_proj")
        raise AdapterError(
            got=f"a {type(given).__name__}",
            want="a Targets",
            where=f"{type(self).__name__}.targets",
            fix=f"Write targets=Targets(include={example!r}).",
        )

    def require_rank(self, r: object) -> None:
        """A rank is a positive int (bool is not one)."""
        self.require(type(r) is int and r >= 1, "r", r, "an integer of at least 1")

    def require_finite(self, field: str, value: object) -> None:
        """A scale is a finite number."""
        ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        self.require(ok, field, value, "a finite number")

    def require_choice(self, field: str, value: object, choices: tuple[str, ...]) -> None:
        """An option by name must be one that exists: an unknown one never silently does nothing."""
        if isinstance(value, str) and value in choices:
            return
        near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5) if isinstance(value, str) else []
        fix = f"Did you mean {near[0]}?" if near else ""
        self.require(False, field, value, "one of " + ", ".join(choices), fix)

    def require_flag(self, field: str, value: object) -> None:
        """A switch is True or False, not something truthy."""
        self.require(isinstance(value, bool), field, value, "True or False")

    def require_probability(self, field: str, value: object) -> None:
        """A dropout probability lies in [0, 1)."""
        self.require_finite(field, value)
        self.require(0 <= value < 1, field, value, "a probability in [0, 1)")  # type: ignore[operator]

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` turns back into an equal config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``to_json``; an unknown field is an error, since it would silently do nothing."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise AdapterError(
                got=f"unknown field(s) {unknown}",
                want=f"fields among {sorted(known)}",
                where=cls.__name__,
                fix="The file may come from a newer version; update, or save it again.",
            )
        return cls(**{**data, "targets": Targets.from_json(data["targets"])})


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(AdapterConfig):
    """What the methods with an update s B A share: its rank and scale, and dropout on the x that A sees."""

    r: int = option(
        8,
        "rank of the update",
        range="an integer of at least 1",
        symbol="r",
        paper="r",
        peft="r",
        change="raise it if the update needs more capacity; trainable numbers and cost grow in proportion",
    )
    alpha: float = option(
        8.0,
        "scale of the update",
        range="a finite number",
        symbol="alpha, in s = alpha / r",
        paper="alpha",
        peft="lora_alpha",
        change="together with the learning rate: it multiplies the update of the same A and B",
    )
    dropout: float = option(
        0.0,
        "probability with which training drops each number of the x that A sees",
        range="a probability in [0, 1)",
        symbol="drop(x)",
        paper="dropout",
        peft="lora_dropout",
        change="raise it (0.05 to 0.1) if a small data set is overfitted",
    )
    rslora: bool = option(
        False,
        "whether s is alpha / sqrt(r) instead of alpha / r",
        range="True or False",
        symbol="s",
        paper="rsLoRA (arXiv 2312.03732)",
        peft="use_rslora",
        change="at a large r, where s = alpha / r makes the update too small to learn",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rank(self.r)
        self.require_finite("alpha", self.alpha)
        self.require_probability("dropout", self.dropout)
        self.require_flag("rslora", self.rslora)

    @property
    def scale(self) -> float:
        """s of the formula: alpha / r, or alpha / sqrt(r) with rsLoRA."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)
