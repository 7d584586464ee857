"""LoRA, correctly, in other words."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from proof.seeded.rewrites.wrapper import Wrapper, random_A
from refs.settings import Settings
from refs.subject import AS_IS, TRANSPOSED, Host, Subject, View
from variants.lora import LoRA


class LoRAByAddmm(LoRA):
    """Rows are flattened, and torch.addmm adds the scaled update to y in one call."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dtype = self.A.dtype
        rows = F.dropout(x.to(dtype), self.config.dropout, self.training).reshape(-1, self.d_in)
        wide = torch.promote_types(y.dtype, dtype)
        update = torch.mm(rows, self.A.T).to(wide)
        out = torch.addmm(y.reshape(-1, self.d_out).to(wide), update, self.B.T.to(wide), alpha=self.config.scale)
        return out.reshape(y.shape).to(y.dtype)


class LoRAByEinsum(LoRA):
    """s is put on B first, and one einsum does both products."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + torch.einsum("...i,ri,or->...o", dropped, self.A, self.config.scale * self.B)).to(y.dtype)


class LoRAWithItsOwnMask(LoRA):
    """Dropout by a mask of torch.rand: other random numbers, the same distribution."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped, p = x.to(self.A.dtype), self.config.dropout
        if self.training and p > 0:
            dropped = dropped * (torch.rand(x.shape, dtype=torch.float64) >= p).to(dropped.dtype) / (1 - p)
        return (y + self.config.scale * F.linear(F.linear(dropped, self.A), self.B)).to(y.dtype)


class LoRATransposed(Wrapper):
    """A plain module that stores A as (d_in, r) and B as (r, d_out)."""

    names: ClassVar = {"A": ("down", TRANSPOSED), "B": ("up", TRANSPOSED)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        return {"down": random_A(W, settings).T.contiguous(), "up": torch.zeros(settings.r, len(W))}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        dropped = F.dropout(x.to(self.down.dtype), self.p, self.training)
        return (y + dropped @ self.down @ self.up * self.s).to(y.dtype)


class LoRAInOneVector(Wrapper):
    """A plain module that stores A and B each as one flat vector, column by column."""

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__(inner, settings)
        self.r = settings.r

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        return {"a": random_A(W, settings).T.reshape(-1), "b": torch.zeros(len(W) * settings.r)}

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        columns = View(lambda t: t.reshape(-1, settings.r).T, lambda t, shape: t.T.reshape(shape))
        rows = View(lambda t: t.reshape(-1, settings.r), lambda t, shape: t.reshape(shape))
        host = Host(cls(layer, settings))
        return Subject(host, layer, {"A": ("layer.a", columns), "B": ("layer.b", rows)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        dropped = F.dropout(x.to(self.a.dtype), self.p, self.training)
        update = F.linear(dropped @ self.a.view(-1, self.r), self.b.view(-1, self.r))
        return (y + self.s * update).to(y.dtype)


class LoRAFromLinears(nn.Module):
    """A plain module made of three linear layers and a dropout, as many tutorials have it."""

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__()
        dtype = getattr(torch, settings.dtype or "float32")
        self.inner = inner
        self.drop = nn.Dropout(settings.option("dropout", 0.0))
        self.down = nn.Linear(inner.in_features, settings.r, bias=False, dtype=dtype)
        self.up = nn.Linear(settings.r, inner.out_features, bias=False, dtype=dtype)
        if settings.option("init", "kaiming") == "gaussian":
            nn.init.normal_(self.down.weight, std=1 / settings.r)
        nn.init.zeros_(self.up.weight)
        self.s = settings.alpha / settings.r ** (0.5 if settings.option("rslora", False) else 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return (y + self.up(self.down(self.drop(x.to(self.down.weight.dtype)))) * self.s).to(y.dtype)

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        host = Host(cls(layer.requires_grad_(False), settings))
        return Subject(host, layer, {"A": ("layer.down.weight", AS_IS), "B": ("layer.up.weight", AS_IS)})


class _Sum(nn.Module):
    """W -> W + s B A, for ``parametrize``."""

    def __init__(self, W: Tensor, settings: Settings) -> None:
        super().__init__()
        dtype = getattr(torch, settings.dtype or "float32")
        self.A = nn.Parameter(random_A(W, settings).to(dtype))
        self.B = nn.Parameter(torch.zeros(len(W), settings.r, dtype=dtype))
        self.s = settings.alpha / settings.r ** (0.5 if settings.option("rslora", False) else 1)

    def forward(self, W: Tensor) -> Tensor:
        return W + self.s * self.B @ self.A


class _WideLinear(nn.Linear):
    """A linear layer that computes in the dtype of its weight and answers in the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)


class LoRAByParametrize:
    """torch.nn.utils.parametrize makes the layer's weight W + s B A; there is no branch, and so no dropout."""

    @staticmethod
    def build(layer: nn.Linear, settings: Settings) -> Subject:
        p = settings.option("dropout", 0.0)
        layer.requires_grad_(False)
        adapted = _WideLinear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        adapted.weight, adapted.bias = layer.weight, layer.bias
        parametrize.register_parametrization(adapted, "weight", _Sum(layer.weight, settings), unsafe=True)
        host = Host(adapted if not p else _Dropping(adapted, p))
        path = ("layer" if not p else "layer.inner") + ".parametrizations.weight.0."
        return Subject(host, layer, {name: (path + name, AS_IS) for name in ("A", "B")})


class _Dropping(nn.Module):
    """W x + b plus what the parametrized weight adds for the dropped x."""

    def __init__(self, inner: nn.Linear, p: float) -> None:
        super().__init__()
        self.inner, self.p = inner, p

    def forward(self, x: Tensor) -> Tensor:
        original: Any = self.inner.parametrizations.weight
        change = self.inner.weight - original.original
        dropped = F.dropout(x.to(change.dtype), self.p, self.training)
        y = F.linear(x, original.original, self.inner.bias)
        return (y + F.linear(dropped, change)).to(x.dtype)


class LoRACachesTheUpdate(LoRA):
    """Without gradients s B A is kept as one matrix until A or B is written to (``_version``)."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if torch.is_grad_enabled() or self.training:
            return super().change_output(layer, x, y)
        key = tuple((id(t), t._version, t.data_ptr()) for t in (self.A, self.B))
        if self.__dict__.get("key") != key:
            self.__dict__.update(key=key, kept=self.config.scale * self.B @ self.A)
        return (y + F.linear(x.to(self.A.dtype), self.kept)).to(y.dtype)
