"""A linear layer wrapped by a plain module that knows nothing of ``variants``: the start of several re-writings."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from refs.settings import Settings
from refs.subject import Host, Subject, View


class Wrapper(nn.Module):
    """Holds the frozen layer as ``inner``. ``names``: formula's name -> attribute and view."""

    names: ClassVar[dict[str, tuple[str, View]]]
    frozen: ClassVar[tuple[str, ...]] = ()
    """The attributes that do not train: buffers."""

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.p: float = settings.option("dropout", 0.0)
        root = settings.option("rslora", False)
        self.s = settings.alpha / (math.sqrt(settings.r) if root else settings.r)
        for name, value in self.start(inner.weight.detach(), settings).items():
            stored = value.to(getattr(torch, settings.dtype or "float32"), copy=True).contiguous()
            if name in self.frozen:
                self.register_buffer(name, stored)
            else:
                self.register_parameter(name, nn.Parameter(stored))
        self.replace_weight(inner.weight)

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        """The initial values as they are stored."""
        raise NotImplementedError

    def replace_weight(self, W: Tensor) -> None:
        """Take out of W what the stored tensors put back. Nothing by default."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        present = cls(layer, settings)
        names = {name: (f"layer.{path}", view) for name, (path, view) in cls.names.items() if hasattr(present, path)}
        return Subject(Host(present), layer, names)

    def wide(self, x: Tensor, own: Tensor) -> torch.dtype:
        """At least float32, and as wide as x and a tensor of the method."""
        return torch.promote_types(torch.promote_types(x.dtype, own.dtype), torch.float32)


def random_A(W: Tensor, settings: Settings) -> Tensor:
    """A of LoRA: (r, d_in)."""
    d_in = W.shape[1]
    if settings.option("init", "kaiming") == "gaussian":
        return torch.empty(settings.r, d_in).normal_(std=1 / settings.r)
    return torch.empty(settings.r, d_in).uniform_(-1, 1) / math.sqrt(d_in)
