"""DeLoRA, correctly, in other words."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from refs.settings import Settings
from refs.subject import AS_IS, TRANSPOSED
from variants.delora import DeLoRA


class DeLoRAAsOneWeight(DeLoRA):
    """The change of the weight, N(B, A) diag(w) lam / r less that of the copies, is formed and applied once."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        change = self.unit(self.A, self.B)
        if self.config.frozen_copies:
            change = change - self.unit(self.C, self.D)
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + F.linear(dropped, change * (self.lam / self.config.r * self.w))).to(y.dtype)

    def unit(self, A: Tensor, B: Tensor) -> Tensor:
        """The sum of b_i a_i^T over their lengths."""
        a, b = A.norm(dim=1), B.norm(dim=0)
        if not self.config.frozen_copies:
            a, b = a.clamp(min=1e-4), b.clamp(min=1e-4)
        return (B / b) @ (A / a[:, None])


class DeLoRANormsByEinsum(DeLoRA):
    """Squared lengths by einsum, clamped before the root; all scales act on the r coordinates of x."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training) * self.w
        update = self.part(x, self.A, self.B)
        if self.config.frozen_copies:
            update = update - self.part(x, self.C, self.D)
        return (y + update).to(y.dtype)

    def part(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        # In float32: 1e-8 is zero in float16.
        x, A, B, lam = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (x, A, B, self.lam))
        squares = torch.einsum("ri,ri->r", A, A), torch.einsum("or,or->r", B, B)
        if not self.config.frozen_copies:
            squares = squares[0].clamp(min=1e-8), squares[1].clamp(min=1e-8)
        xi = lam / self.config.r * squares[0].rsqrt() * squares[1].rsqrt()
        return torch.einsum("...i,ri,r,or->...o", x, A, xi, B)


class DeLoRAWithItsOwnMask(DeLoRAAsOneWeight):
    """Dropout by a mask of torch.rand: other random numbers, the same distribution."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        p, training = self.config.dropout, self.training
        if training and p > 0:
            x = x * (torch.rand(x.shape, dtype=torch.float64) >= p).to(x.dtype) / (1 - p)
        self.training = False  # x is dropped already
        out = super().change_output(layer, x, y)
        self.training = training
        return out


class DeLoRAFoldedIntoA(Wrapper):
    """A plain module: B stored transposed, and lam, w and both lengths multiplied into A before it meets x."""

    names: ClassVar = {
        "A": ("down", AS_IS),
        "B": ("up", TRANSPOSED),
        "lam": ("strength", AS_IS),
        "w": ("columns", AS_IS),
        "C": ("down0", AS_IS),
        "D": ("up0", TRANSPOSED),
    }
    frozen: ClassVar = ("columns", "down0", "up0")

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__(inner, settings)
        self.r, self.copies = settings.r, settings.option("frozen_copies", False)

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        down = (2 * torch.rand(settings.r, W.shape[1]) - 1) / math.sqrt(W.shape[1])
        up = torch.zeros(settings.r, len(W))
        columns = W.to(torch.promote_types(W.dtype, torch.float32)).square().sum(0).sqrt()
        started = {"strength": torch.tensor([settings.option("lam", 15.0)]), "columns": columns}
        if settings.option("frozen_copies", False):
            up = (2 * torch.rand(settings.r, len(W)) - 1) / math.sqrt(settings.r)
            started |= {"down0": down, "up0": up}
        return {"down": down, "up": up, **started}

    def folded(self, down: Tensor, up: Tensor) -> Tensor:
        lengths = torch.stack([down.norm(dim=1), up.norm(dim=1)])
        product = (lengths if self.copies else lengths.clamp(min=1e-4)).prod(dim=0)
        return down * torch.outer(self.strength / self.r / product, self.columns)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        dropped = F.dropout(x.to(self.down.dtype), self.p, self.training)
        update = dropped @ self.folded(self.down, self.up).T @ self.up
        if self.copies:
            update = update - dropped @ self.folded(self.down0, self.up0).T @ self.up0
        return (y + update).to(y.dtype)


class DeLoRADropsBeforeTheCast(DeLoRA):
    """x is dropped and scaled by 1 / (1 - p) in its own dtype and cast afterwards, as peft does."""

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training).to(dtype) if self.training else x
