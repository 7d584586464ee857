"""PiSSA, correctly, in other words."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from refs.settings import Settings
from refs.subject import AS_IS, TRANSPOSED
from variants.pissa import PiSSA


class PiSSAByEigenvalues(PiSSA):
    """S_r^2 and Vh_r from the eigenvalues of W^T W in float64, U_r = W V_r / S_r."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        if self.config.niter is not None:
            return super().initial(layer, statistic)
        W = layer.weight.detach().double()
        values, V = torch.linalg.eigh(W.T @ W)
        S, V = values[-self.config.r :].flip(0).sqrt(), V[:, -self.config.r :].flip(1)
        root = (S / self.config.scale).sqrt()
        A, B = (V * root).T, (W @ V) / S * root
        return {"A": A, "B": B, "A0": A, "B0": B}


class PiSSAOfOtherSigns(PiSSA):
    """Every other pair of singular vectors has its signs turned: the same products."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        sign = (-1.0) ** torch.arange(self.config.r)
        started = super().initial(layer, statistic)
        return {name: t * (sign[:, None] if name.startswith("A") else sign) for name, t in started.items()}


class PiSSAAsOneWeight(Wrapper):
    """A plain module that stores both factors transposed and applies W_res + s B A at once."""

    names: ClassVar = {"A": ("down", TRANSPOSED), "B": ("up", AS_IS)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        niter, wide = settings.option("niter", None), W.to(torch.promote_types(W.dtype, torch.float32))
        U, S, V = torch.svd(wide) if niter is None else torch.svd_lowrank(wide, q=settings.r, niter=niter)
        share = torch.diag(S[: settings.r]).div(self.s).sqrt()
        return {"down": V[:, : settings.r] @ share, "up": U[:, : settings.r] @ share}

    @torch.no_grad()
    def replace_weight(self, W: Tensor) -> None:
        W.sub_((self.s * self.up.double() @ self.down.T.double()).to(torch.promote_types(W.dtype, torch.float32)))

    def forward(self, x: Tensor) -> Tensor:
        wide = self.wide(x, self.up)
        update = self.s * self.up.to(wide) @ self.down.T.to(wide)
        bias = None if self.inner.bias is None else self.inner.bias.to(wide)
        if not (self.training and self.p):
            return F.linear(x.to(wide), self.inner.weight.to(wide) + update, bias).to(x.dtype)
        return (self.inner(x) + F.linear(F.dropout(x.to(wide), self.p, True), update)).to(x.dtype)
