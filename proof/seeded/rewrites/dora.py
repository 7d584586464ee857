"""DoRA, correctly, in other words."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper, random_A
from refs.settings import Settings
from refs.subject import AS_IS, FLAT, TRANSPOSED
from variants.dora import DoRA
from variants.runtime.state import weight_of


class _ByFactor(DoRA):
    """DoRA by one weight. ``norm`` is rounded as m was, so that m / |V| is exactly 1 at t=0 in any dtype of m."""

    def norm(self, W: Tensor) -> Tensor:
        raise NotImplementedError

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(self.A.dtype, layer.weight.dtype)
        W, A, B, m = (t.to(wide) for t in (layer.weight, self.A, self.B, self.m))
        norm = self.norm(W).detach().to(self.m.dtype).to(wide)
        one = torch.ones_like(norm)
        factor = (m / norm.where(norm > 0, one)).where(norm > 0, one)
        change = factor[:, None] * (W + self.config.scale * B @ A) - W
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + F.linear(dropped.to(wide), change)).to(y.dtype)


class DoRAAsOneWeight(_ByFactor):
    """The change of the weight, diag(m / |V|) V - W, is formed as a matrix and applied once."""

    def norm(self, W: Tensor) -> Tensor:
        return (W + self.config.scale * self.B.to(W.dtype) @ self.A.to(W.dtype)).square().sum(1).sqrt()


class DoRANormByExpansion(_ByFactor):
    """|V|^2 = |W|^2 + 2 s (W A^T . B) + s^2 (B A A^T . B); rows in which these cancel are formed."""

    @torch.no_grad()
    def norm(self, W: Tensor) -> Tensor:
        s, A, B, W = self.config.scale, self.A.double(), self.B.double(), W.double()
        base, crossed, own = W.square().sum(1), 2 * s * (W @ A.T * B).sum(1), s**2 * (B @ (A @ A.T) * B).sum(1)
        squared = base + crossed + own
        formed = (W + s * B @ A).square().sum(1)
        return squared.where(squared > 0.1 * (base + own), formed).sqrt()


class DoRAByUnitRows(Wrapper):
    """A plain module: m as a column (d_out, 1), B transposed, and V divided into its length and its direction."""

    names: ClassVar = {"A": ("down", AS_IS), "B": ("up", TRANSPOSED), "m": ("length", FLAT)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        length = W.to(torch.promote_types(W.dtype, torch.float32)).norm(dim=1, keepdim=True)
        return {"down": random_A(W, settings), "up": torch.zeros(settings.r, len(W)), "length": length}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        wide = torch.promote_types(self.down.dtype, self.inner.weight.dtype)
        dropped = F.dropout(x.to(self.down.dtype), self.p, self.training).to(wide)
        W, up, down = self.inner.weight.to(wide), self.up.to(wide), self.down.to(wide)
        V = W + self.s * up.T @ down
        length = V.detach().norm(dim=1, keepdim=True).to(self.length.dtype).to(wide)  # rounded as m was
        unit = V / length.where(length > 0, torch.ones_like(length))
        return (y + F.linear(dropped, unit * self.length.to(wide) - W)).to(y.dtype)


class DoRACachesTheNorm(_ByFactor):
    """|V| is computed once per state of W, A and B: ``_version`` counts how often each was written to."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.__dict__["sources"] = (layer.weight, self.A, self.B)
        return super().change_output(layer, x, y)

    def norm(self, W: Tensor) -> Tensor:
        key = tuple((id(t), t._version, t.data_ptr()) for t in self.sources), W.dtype
        if self.__dict__.get("key") != key:
            with torch.no_grad():
                V = W + self.config.scale * self.B.to(W.dtype) @ self.A.to(W.dtype)
                self.__dict__.update(key=key, kept=V.norm(dim=1))
        return self.kept


class DoRAInTheLayersDtype(DoRA):
    """Where layer and tensors are in half precision, every step is rounded to it, as peft does."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        half = x.dtype == self.A.dtype and x.dtype.itemsize == 2
        if not half or (self.training and self.config.dropout):
            return super().change_output(layer, x, y)
        f = self.factor(weight_of(layer)).to(x.dtype)
        b: Any = 0 if layer.bias is None else layer.bias
        update = self.config.scale * F.linear(F.linear(x, self.A.to(x.dtype)), self.B.to(x.dtype))
        return y + (f - 1) * (y - b) + f * update
