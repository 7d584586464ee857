"""A plain module for the SVD-steering family, and what its re-writings share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from proof.seeded.rewrites.wrapper import Wrapper
from refs.calibration import pooled
from refs.settings import Settings
from refs.subject import AS_IS, TRANSPOSED
from variants.svd_family import SVDAdapter


class SVDWrapper(Wrapper):
    """Stores U and Vh transposed, decomposes in NumPy's float64, and applies W_res + U core Vh at once."""

    names: ClassVar = {"U": ("left", TRANSPOSED), "S": ("values", AS_IS), "Vh": ("right", TRANSPOSED)}
    frozen: ClassVar = ("left", "values", "right")

    def __init__(self, inner: torch.nn.Linear, settings: Settings) -> None:
        self.settings = settings
        super().__init__(inner, settings)

    def option(self, name: str, default: object) -> object:
        """An option that was asked for, or the method's default."""
        return self.settings.option(name, default)

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        U, S, Vh = np.linalg.svd(W.double().numpy(), full_matrices=False)
        kept = np.arange(settings.r)
        if kind := settings.option("calibration", ""):
            z = np.abs(pooled(kind, W.shape[1], W.dtype).double().numpy() @ Vh.T) * S
            rms = settings.option("act_pool", "rms") == "rms"
            scores = np.sqrt((z**2).mean(axis=0)) if rms else z.mean(axis=0)
            kept = np.sort(np.argsort(-scores, kind="stable")[: settings.r])
        factors = {"left": U[:, kept].T, "values": S[kept], "right": Vh[kept].T}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in factors.items()}

    @torch.no_grad()
    def replace_weight(self, W: Tensor) -> None:
        W.copy_(W.double() - self.left.double().T @ torch.diag(self.values.double()) @ self.right.double().T)

    def core(self, wide: torch.dtype) -> Tensor:
        """What stands between U and Vh: ``(r, r)``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        wide = self.wide(x, self.left)
        weight = self.inner.weight.to(wide) + self.left.T.to(wide) @ self.core(wide) @ self.right.T.to(wide)
        bias = None if self.inner.bias is None else self.inner.bias.to(wide)
        return F.linear(x.to(wide), weight, bias).to(x.dtype)


class OneWeight(SVDAdapter):
    """An adapter that forms U core Vh and applies it at once."""

    def change_output(self, layer: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)
        U, right = self.U.to(wide), getattr(self, self.right).to(wide)
        return (y + F.linear(x.to(wide), U @ self.matrix(wide) @ right)).to(y.dtype)

    def matrix(self, wide: torch.dtype) -> Tensor:
        """What stands between U and Vh: ``(r, r)``."""
        raise NotImplementedError


def by_cases(g: Tensor, coeff: float, suppress_only: bool) -> Tensor:
    """The gain, written as its two sides."""
    z = coeff * (torch.where(g <= 0, g, 0) if suppress_only else g)
    return torch.where(z > 0, 1 + z, torch.where(z > 0, 0, z).exp())
