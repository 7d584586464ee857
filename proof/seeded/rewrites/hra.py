"""HRA, correctly, in other words."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from refs.settings import Settings
from refs.subject import TRANSPOSED
from variants.hra import HRA, HRAConfig


def on_output(z: Tensor, U: Tensor, config: HRAConfig) -> Tensor:
    """What the output side adds to z = W x, through the whole matrix H_{r-1} ... H_0."""
    R = torch.eye(U.shape[1], dtype=U.dtype)
    if config.gram_schmidt:
        R = R - 2 * U.T @ torch.linalg.solve(U @ U.T, U)
    else:
        for u in U:
            R = R - 2 * torch.outer(u, u @ R) / (u @ u + config.eps)
    return F.linear(z, R) - z


class _Reflecting(HRA):
    """HRA by ``reflect``: h H_{r-1} ... H_0 for rows ``h: (..., d_in)``, in at least float32."""

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)
        h = x.to(wide)
        if self.config.side == "output":
            return (y + on_output(F.linear(h, layer.weight.to(wide)), self.U.to(wide), self.config)).to(y.dtype)
        return (y + F.linear(self.reflect(h) - h, layer.weight.to(wide))).to(y.dtype)

    def reflect(self, h: Tensor) -> Tensor:
        Q = torch.linalg.qr(self.U.to(h.dtype).T).Q
        return h - 2 * (h @ Q) @ Q.T  # with ``gram_schmidt``


class HRAByTriangularSolve(_Reflecting):
    """h H_{r-1} ... H_0 = h - a U, where (triu(U U^T, 1) + diag(|u_i|^2 / 2)) a = U h: one r x r solve."""

    def reflect(self, h: Tensor) -> Tensor:
        if self.config.gram_schmidt:
            return super().reflect(h)
        U = self.U.to(h.dtype)
        gram = U @ U.T
        triangle = gram.triu(1) + torch.diag(gram.diagonal() / 2)
        dots = (h @ U.T).reshape(-1, len(U))
        wide = torch.promote_types(U.dtype, torch.float32)  # under autocast the products above are in bfloat16
        a = torch.linalg.solve_triangular(triangle.T.to(wide), dots.to(wide), upper=False, left=False)
        return h - (a @ U).reshape(h.shape)


class HRAAsMatrix(HRA):
    """R is formed as a d_in x d_in matrix, left to right as the formula reads, and W R is applied at once."""

    def rotation(self, dtype: torch.dtype) -> Tensor:
        U = self.U.to(dtype)
        R = torch.eye(self.d_in, dtype=dtype)
        if self.config.gram_schmidt:
            # U^T (U U^T)^{-1} U is the projector onto the rows of U, whatever basis Gram-Schmidt finds.
            return R - 2 * U.T @ torch.linalg.solve(U @ U.T, U)
        for u in U:
            R = R - 2 * torch.outer(R @ u, u) / (u @ u)
        return R

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(x.dtype, self.U.dtype), torch.float32)
        if self.config.side == "output":
            z = F.linear(x.to(wide), layer.weight.to(wide))
            return (y + on_output(z, self.U.to(wide), self.config)).to(y.dtype)
        R = self.rotation(wide)
        bias = None if layer.bias is None else layer.bias.to(wide)
        return F.linear(x.to(wide), layer.weight.to(wide) @ R, bias).to(y.dtype)


class HRAOfUnitColumns(Wrapper):
    """A plain module: U stored as (d_in, r), every column divided by its length first."""

    names: ClassVar = {"U": ("vectors", TRANSPOSED)}

    def __init__(self, inner: nn.Linear, settings: Settings) -> None:
        super().__init__(inner, settings)
        self.orthogonal: bool = settings.option("gram_schmidt", False)
        self.side = settings.option("side", "input")
        self.eps: float = settings.option("eps", 6e-5)

    def orthogonality_penalty(self) -> Tensor:
        V = self.vectors / self.vectors.norm(dim=0)
        return (V.T @ V - torch.eye(V.shape[1], dtype=V.dtype)).square().sum().sqrt()

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        r, single = settings.r, settings.option("gram_schmidt", False)
        if settings.option("side", "input") == "output":
            d_out, eps = len(W), settings.option("eps", 6e-5)
            tall = nn.init.kaiming_uniform_(torch.empty(d_out, r), a=1 / eps)
            return {"vectors": torch.eye(d_out, r) if single else tall}
        if r % 2 and not single:
            raise ValueError(f"r: got {r}, want an even number")
        n = r if single else r // 2
        half = torch.empty(W.shape[1], n).uniform_(-1, 1) / math.sqrt(n)
        return {"vectors": half if single else torch.stack([half, half], 2).flatten(1)}

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(torch.promote_types(x.dtype, self.vectors.dtype), torch.float32)
        h, V = x.to(wide), self.vectors.to(wide)
        if self.side == "output":
            z = F.linear(h, self.inner.weight.to(wide))
            config = HRAConfig(r=V.shape[1], gram_schmidt=self.orthogonal, side="output", eps=self.eps)
            bias = 0 if self.inner.bias is None else self.inner.bias.to(wide)
            return (z + on_output(z, V.T, config) + bias).to(x.dtype)
        V = torch.linalg.qr(V).Q if self.orthogonal else V / V.norm(dim=0)
        for i in reversed(range(V.shape[1])):
            h = h - 2 * (h @ V[:, i : i + 1]) @ V[:, i : i + 1].T
        bias = None if self.inner.bias is None else self.inner.bias.to(wide)
        return F.linear(h, self.inner.weight.to(wide), bias).to(x.dtype)


class HRAInBlocksOfTwo(_Reflecting):
    """Two reflections at a time, as I - V T V^T with a 2 x 2 triangle T; a single one is left over where r is odd."""

    def reflect(self, h: Tensor) -> Tensor:
        if self.config.gram_schmidt:
            return super().reflect(h)
        U = self.U.to(h.dtype)
        for end in range(len(U), 0, -2):
            V = U[max(end - 2, 0) : end].flip(0)  # the rightmost factor acts first
            t = 2 / V.square().sum(1)
            T = torch.diag(t)
            if len(V) == 2:
                T = T + torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=h.dtype) * -(t[0] * t[1] * (V[0] @ V[1]))
            h = h - (h @ V.T) @ T @ V
        return h
