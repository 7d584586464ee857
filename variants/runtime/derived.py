"""A value that follows from some tensors, kept for as long as they are what they were."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
WHOLE = 4096
"""A tensor of up to so many entries is compared whole, of a larger one about SAMPLED entries."""
SAMPLED = 64


class Derived(Generic[T]):
    """One value and the tensors that it was made from.

    They are the same if each is the same object in the same memory at the same version. A write through ``.data``
    does not count as a new version, so on the CPU their bytes are compared as well, of large tensors a sample. Copies
    and pickles start empty. Nothing is kept while compiling, nor for tensors without a version (made in inference
    mode) or without memory of their own (inside torch.func).
    """

    def __init__(self) -> None:
        self.forget()

    def __reduce__(self) -> tuple[type[Derived[T]], tuple[()]]:
        return type(self), ()

    def forget(self) -> None:
        """Let go of the value, and of the memory of the tensors."""
        self._seen: tuple[_Seen, ...] | None = None
        self._value: T | None = None
        self._key: object = None

    def get(self, sources: tuple[Tensor | None, ...], make: Callable[[], T], key: object = None) -> T:
        """``make()``, or what it gave when it was last asked for with this key, unless a source has changed since."""
        if torch.compiler.is_compiling():
            return make()
        if self._seen is not None and self._key == key and len(self._seen) == len(sources):
            for seen, tensor in zip(self._seen, sources):
                if not seen.still(tensor):
                    break
            else:
                return self._value  # type: ignore[return-value]
        self.forget()
        value = make()
        if all(tensor is None or _can_be_watched(tensor) for tensor in sources):
            self._seen, self._value, self._key = tuple(map(_Seen, sources)), value, key
        return value


class _Seen:
    """What a tensor was."""

    __slots__ = ("address", "bytes", "dtype", "memory", "stride", "tensor", "version")

    def __init__(self, tensor: Tensor | None) -> None:
        self.tensor = None if tensor is None else weakref.ref(tensor)
        self.bytes = b""
        if tensor is None:
            return
        self.version, self.address = tensor._version, tensor.data_ptr()
        self.stride, self.dtype = tensor.stride(), tensor.dtype
        plain = tensor.detach()
        self.memory: object = plain  # held, so that its address is not given to another tensor
        if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.numel():
            entries = plain.view(-1).view(torch.uint8).view(tensor.numel(), -1).numpy()
            # An odd step walks through the columns of a matrix.
            step = 1 if tensor.numel() <= WHOLE else tensor.numel() // SAMPLED | 1
            self.memory = entries[::step]
            self.bytes = entries[::step].tobytes()

    def still(self, tensor: Tensor | None) -> bool:
        """Is this the tensor, unchanged?"""
        if tensor is None or self.tensor is None:
            return tensor is None and self.tensor is None
        return (
            self.tensor() is tensor
            and tensor._version == self.version
            and tensor.data_ptr() == self.address
            and tensor.stride() == self.stride
            and tensor.dtype is self.dtype
            and (not self.bytes or self.memory.tobytes() == self.bytes)  # type: ignore[attr-defined]
        )


def _can_be_watched(tensor: Tensor) -> bool:
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_inference():
        return False
    try:
        return tensor.data_ptr() != 0
    except RuntimeError:
        return False
