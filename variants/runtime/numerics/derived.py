"""A value that follows from some tensors, kept for as long as they are what they were."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
WHOLE = 4096
"""A tensor of up to so many entries, on the CPU, is compared whole at each call; nothing is taken on trust."""
_promise: ContextVar[object | None] = ContextVar("promise", default=None)


@contextmanager
def unchanged() -> Iterator[None]:
    """Inside, the caller promises that no tensor of a model is written behind autograd's version counter.

    Then what follows from large tensors is kept from call to call, too, in eval and inference mode (a norm of the
    whole weight, say): generating token by token gets faster. A write through ``.data`` inside is not seen; every
    other write is. What was kept is forgotten at the end.
    """
    token = _promise.set(object())
    try:
        yield
    finally:
        _promise.reset(token)


class Derived(Generic[T]):
    """One value and the tensors that it was made from.

    They are the same if each is the same object in the same memory at the same version. A write through ``.data``
    does not count as a new version, so the bytes are compared as well. Where that takes too long (a large tensor, or
    one on another device) nothing is kept, but for a caller who promises that nobody writes: ``unchanged``. Copies
    and pickles start empty. Nothing is kept for tensors without a version (made in inference mode) or without memory
    of their own (inside torch.func).
    """

    def __init__(self) -> None:
        self.forget()

    def __reduce__(self) -> tuple[type[Derived[T]], tuple[()]]:
        return type(self), ()

    def forget(self) -> None:
        """Let go of the value, and of the memory of the tensors."""
        self._seen: tuple[tuple[Any, ...], ...] | None = None
        self._value: T | None = None
        self._key: object = None

    def get(self, sources: tuple[Tensor, ...], make: Callable[[], T], key: object = None) -> T:
        """``make()``, or what it gave when it was last asked for with this key, unless a source has changed since."""
        if self._seen is not None and self._key == key:
            for source, (same, version, address, stride, dtype, looked_at, before) in zip(sources, self._seen):
                if not (
                    same() is source
                    and source._version == version
                    and source.data_ptr() == address
                    and source.stride() == stride
                    and source.dtype is dtype
                    and (_promise.get() is before if looked_at is None else looked_at.tobytes() == before)
                ):
                    break
            else:
                return self._value  # type: ignore[return-value]
        self.forget()
        value = make()
        if all(map(_can_be_watched, sources)):
            self._seen, self._value, self._key = tuple(map(_seen, sources)), value, key
        return value


def _seen(source: Tensor) -> tuple[Any, ...]:
    """What a tensor was. Its memory is held: as long as it is, no other tensor gets the address."""
    identity = weakref.ref(source), source._version, source.data_ptr(), source.stride(), source.dtype
    if not _is_compared(source):
        return *identity, None, _promise.get()
    looked_at: Any = source.detach().view(-1).view(torch.uint8).numpy()
    return *identity, looked_at, looked_at.tobytes()


def _is_compared(source: Tensor) -> bool:
    return source.device.type == "cpu" and source.is_contiguous() and source.numel() <= WHOLE


def _can_be_watched(tensor: Tensor) -> bool:
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_inference():
        return False
    try:
        return tensor.data_ptr() != 0 and (_is_compared(tensor) or _promise.get() is not None)
    except RuntimeError:
        return False
