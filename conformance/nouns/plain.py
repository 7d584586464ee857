"""Frozen dataclasses as plain JSON data, and back by their type annotations."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any, str], Any]
"""Makes a value of a field from plain data; the text says where it stands, for errors."""


def data(thing: Any) -> Any:
    """As ``dataclasses.asdict`` for dataclasses of immutable values and tuples, which need no copies of the values."""
    if isinstance(thing, tuple):
        return tuple(map(data, thing))
    names = _names(type(thing))  # type: ignore[arg-type]
    return thing if names is None else {name: data(getattr(thing, name)) for name in names}


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for another type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def read(kind: type[T], data: Any) -> T:
    """An instance of ``kind`` from ``dataclasses.asdict`` data. TypeError or ValueError for other data."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__}: got {type(data).__name__}, want an object")
    readers = _readers(kind)  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(readers))
    if unknown:
        raise TypeError(f"{kind.__name__}: got the unknown field {unknown[0]}, want one of {', '.join(readers)}")
    made: dict[str, Any] = {}
    for name, value in data.items():
        where, reader = readers[name]
        made[name] = reader(value, where)
    return kind(**made)


@cache
def _readers(kind: type) -> dict[str, tuple[str, Reader]]:
    """By field: where it stands, and what reads it. Looked up once: thousands of findings are read."""
    hints = get_type_hints(kind)
    return {f.name: (f"{kind.__name__}.{f.name}", _reader(hints[f.name])) for f in dataclasses.fields(kind)}


def _reader(hint: Any) -> Reader:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Union or isinstance(hint, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        if len(inner) > 1:  # read by its owner, by the kind that is written beside it
            return _no_union
        of_it = _reader(inner[0])
        return (lambda value, where: None if value is None else of_it(value, where)) if type(None) in args else of_it
    if origin is tuple:
        return _tuple_of(_reader(args[0]))
    if dataclasses.is_dataclass(hint):
        return lambda value, where: read(hint, value)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value, where: hint(value)
    return _exactly(hint)


def _no_union(value: Any, where: str) -> Any:
    if value is not None:
        raise ValueError(f"{where}: got {type(value).__name__}, want nothing here")


def _tuple_of(item: Reader) -> Reader:
    def reader(value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{where}: got {type(value).__name__}, want a list")
        return tuple([item(each, where) for each in value])

    return reader


def _exactly(kind: type) -> Reader:
    def reader(value: Any, where: str) -> Any:
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{where}: got {type(value).__name__}, want {kind.__name__}")
        return value

    return reader
