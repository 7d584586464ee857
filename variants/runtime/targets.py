"""Which modules of a model an adapter goes on: linear-like ones, by name, by role and by layer."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import is_linear_like, sizes_of
from variants.runtime.layers.stacks import stack_of, stacks_in

ROLES = ("reader", "writer", "inner")

# fmt: off
READER_NAMES = frozenset((
    "q_proj", "k_proj", "v_proj", "qkv_proj", "query", "key", "value", "q_lin", "k_lin", "v_lin", "query_key_value",
    "c_attn", "q", "k", "v", "wq", "wk", "wv", "in_proj", "gate_proj", "up_proj", "fc1", "w1", "w3",
))
WRITER_NAMES = frozenset((
    "o_proj", "out_proj", "out_lin", "o", "wo", "dense", "c_proj", "down_proj", "fc2", "w2", "proj",
))
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Targets:
    """A choice of modules. Conditions are joined by *and*; the default is every linear layer but the output head.

    - ``include`` / ``exclude``: names. A pattern matches the whole dotted name or its last parts
      (``q_proj`` matches ``model.layers.0.self_attn.q_proj``); ``*`` and ``?`` are wildcards, all else is literal.
    - ``roles``: ``reader`` takes the residual stream in, ``writer`` gives to it, ``inner`` does neither. Told by
      shape against the model's width, and for square layers by their name.
    - ``layers``: numbers of blocks, negative ones counted from the end.
    - ``parameters``: names of parameters that stack several weights, such as a mixture's experts
      (``experts.down_proj``; peft's ``target_parameters``). With them, linear layers are targets only where
      ``include`` names them.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("include", "exclude", "roles", "parameters"):
            value = getattr(self, field)
            if isinstance(value, str):
                value = (value,)
            value = _as_tuple(field, value, "names (non-empty strings)")
            if not all(isinstance(v, str) and v for v in value):
                raise _bad(field, value, "names (non-empty strings)")
            object.__setattr__(self, field, value)
        unknown = [r for r in self.roles if r not in ROLES]
        if unknown:
            raise AdapterError(
                got=repr(unknown),
                want="some of " + ", ".join(ROLES),
                where="Targets.roles",
                fix="A reader takes the residual stream in (q_proj, up_proj), a writer adds to it (o_proj, down_proj), "
                "inner is neither. To name layers, use include=.",
            )
        if self.layers is not None:
            layers = (self.layers,) if isinstance(self.layers, int) else self.layers
            layers = _as_tuple("layers", layers, "whole numbers")
            if not all(type(n) is int for n in layers):
                raise _bad("layers", layers, "whole numbers")
            object.__setattr__(self, "layers", layers)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``dataclasses.asdict``."""
        layers = data["layers"]
        return cls(**{**data, "layers": None if layers is None else tuple(layers)})

    def find(self, model: nn.Module) -> dict[str, nn.Module]:
        """Name -> module of every target, in the model's order.

        Raises ``AdapterError`` when nothing matches, or when a named module is one whose forward is never called.
        """
        candidates = dict(_linear_like(model))
        kept = {name: m for name, m in candidates.items() if not any(matches_name(name, p) for p in self.exclude)}
        if self.include or self.parameters:
            found = {name: m for name, m in kept.items() if any(matches_name(name, p) for p in self.include)}
            for name in found:
                _refuse_bypassed(model, name)
        else:
            head = _output_head(model)
            found = {name: m for name, m in kept.items() if m is not head and not _is_bypassed(model, name)}
        idle: list[str] = [p for p in self.include if not any(matches_name(name, p) for name in candidates)]
        if idle and found:
            raise _bad("include", idle, f"patterns that match a linear-like module ({_some(list(candidates))})")
        stacked = self._stacked(model)
        found, candidates = found | stacked, candidates | stacked
        if self.layers is not None:
            found = self._on_layers(found, candidates)
        if self.roles:
            found = self._with_role(found, _width(model, candidates))
        if not found:
            raise AdapterError(
                got=f"no target (linear-like modules: {_some(list(candidates)) or 'none'})",
                want=f"at least one module for {self}",
                where="Targets.find",
                fix="Compare the patterns with model.named_modules().",
            )
        return found

    def _stacked(self, model: nn.Module) -> dict[str, nn.Module]:
        there = {name: (owner, parameter) for name, owner, parameter in stacks_in(model)} if self.parameters else {}
        if idle := [p for p in self.parameters if not any(matches_name(name, p) for name in there)]:
            want = f"patterns that match a parameter of three dimensions ({_some(list(there)) or 'none'})"
            raise _bad("parameters", idle, want)
        chosen = (name for name in there if any(matches_name(name, p) for p in self.parameters))
        return {name: stack_of(*there[name]) for name in chosen if not any(matches_name(name, p) for p in self.exclude)}

    def skipped(self, model: nn.Module) -> dict[str, str]:
        """Linear layers that the default takes out, each with the reason; empty where layers are named."""
        if self.include or self.parameters:
            return {}
        head = _output_head(model)
        found = {}
        for name, module in _linear_like(model):
            if module is head:
                found[name] = "the output head, which is a target only by name"
            elif _is_bypassed(model, name):
                found[name] = "MultiheadAttention reads its weight and never calls it"
        return found

    def _on_layers(self, found: dict[str, nn.Module], candidates: dict[str, nn.Module]) -> dict[str, nn.Module]:
        numbers = [n for n in map(_layer_number, candidates) if n is not None]
        count = max(numbers, default=-1) + 1
        outside = [n for n in self.layers or () if not -count <= n < count]
        if outside:
            raise _bad("layers", outside, f"numbers of the {count} numbered blocks of this model")
        wanted = {n % count for n in self.layers or ()}
        return {name: m for name, m in found.items() if _layer_number(name) in wanted}

    def _with_role(self, found: dict[str, nn.Module], width: int | None) -> dict[str, nn.Module]:
        roles = {name: role_of(name, module, width) for name, module in found.items()}
        unknown = [name for name, role in roles.items() if role is None]
        if unknown:
            warnings.warn(
                f"no role is known for the square layer(s) {_some(unknown)}: left out. Name them with "
                "Targets(include=...) to adapt them.",
                stacklevel=5,
            )
        return {name: found[name] for name, role in roles.items() if role in self.roles}


def role_of(name: str, module: nn.Module, width: int | None) -> str | None:
    """Role of a linear layer in a model whose residual stream has ``width`` features; None if nobody can tell."""
    d_in, d_out = sizes_of(module)
    if width is not None and not d_in == d_out == width:
        return "reader" if d_in == width else "writer" if d_out == width else "inner"
    parts = name.split(".")
    if parts[-1] in READER_NAMES:
        return "reader"
    # "dense" alone is any layer at all (a pooler too); inside an attention or output block it writes back.
    if parts[-1] in WRITER_NAMES and (parts[-1] != "dense" or re.search(r"atten|output|attn", ".".join(parts[:-1]))):
        return "writer"
    return None


def _linear_like(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if is_linear_like(module):
            yield name, module


def _is_bypassed(model: nn.Module, name: str) -> bool:
    """nn.MultiheadAttention reads its output projection's weight and never calls the module: no hook would run."""
    parent = model.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, nn.MultiheadAttention)


def _refuse_bypassed(model: nn.Module, name: str) -> None:
    if _is_bypassed(model, name):
        raise AdapterError(
            got=f"{name}, the output projection of nn.MultiheadAttention",
            want="a module whose forward is called (an adapter there would do nothing)",
            where="Targets.find",
            fix=f"Leave it out with Targets(exclude=({name!r},)).",
        )


def _output_head(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_output_embeddings", None)
    return get() if callable(get) else None


def matches_name(name: str, pattern: str) -> bool:
    """Whether a pattern means the whole dotted name or its last parts."""
    literal = pattern.replace("[", "[[]")
    return fnmatch.fnmatchcase(name, literal) or fnmatch.fnmatchcase(name, "*." + literal)


def _layer_number(name: str) -> int | None:
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _width(model: nn.Module, linear_like: dict[str, nn.Module]) -> int | None:
    config = getattr(model, "config", None)
    for key in ("hidden_size", "n_embd", "d_model", "dim"):
        value = getattr(config, key, None)
        if isinstance(value, int):
            return value
    # Without a config: the number of features that most layers have on a side; in a tie, what the first layer takes in.
    sizes: dict[int, int] = {}
    for module in linear_like.values():
        for size in dict.fromkeys(sizes_of(module)):
            sizes[size] = sizes.get(size, 0) + 1
    return max(sizes, key=lambda size: sizes[size], default=None)


def _as_tuple(field: str, value: Any, want: str) -> tuple[Any, ...]:
    try:
        return tuple(value)
    except TypeError:
        raise _bad(field, value, want) from None


def _bad(field: str, got: object, want: str) -> AdapterError:
    return AdapterError(got=repr(got), want=want, where=f"Targets.{field}", fix="")


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
