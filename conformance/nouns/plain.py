"""Frozen dataclasses as plain JSON data, and back by their type annotations."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read(kind: type[T], data: Any) -> T:
    """An instance of ``kind`` from ``dataclasses.asdict`` data. TypeError or ValueError for other data."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__}: got {type(data).__name__}, want an object")
    hints = _hints(kind)  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise TypeError(f"{kind.__name__}: got the unknown field {unknown[0]}, want one of {', '.join(hints)}")
    return kind(**{name: _value(hints[name], value, f"{kind.__name__}.{name}") for name, value in data.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Union or isinstance(hint, types.UnionType):
        if value is None and type(None) in args:
            return None
        (hint,) = (arg for arg in args if arg is not type(None))
        return _value(hint, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{where}: got {type(value).__name__}, want a list")
        return tuple(_value(args[0], item, where) for item in value)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return read(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    number = hint is float and type(value) is int
    if not number and type(value) is not hint:
        raise TypeError(f"{where}: got {type(value).__name__}, want {hint.__name__}")
    return value
