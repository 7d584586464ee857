"""EVA, correctly, in other words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proof.seeded.rewrites.wrapper import Wrapper
from proof.seeded.rows import Rows, shared_out
from refs.calibration import pooled
from refs.settings import Settings
from refs.subject import AS_IS
from variants.eva import EVA, require_enough


class _OfRows(EVA):
    """EVA from ``principal``: singular values, descending, and directions as rows, of the pooled and centred inputs."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Rows]) -> dict[str, Any]:
        for name, layer in layers.items():
            require_enough(config.r, statistics[name], layer, name)
        if config.rho == 1:
            return dict.fromkeys(layers, config)
        spectra = {name: torch.linalg.eigvalsh(torch.cov(statistics[name].pooled.T)).flip(0) for name in layers}
        shares = {name: values.clamp(min=0) / values.sum() for name, values in spectra.items()}
        return shared_out(config, shares, config.r * config.rho)

    def principal(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def initial(self, layer: nn.Module, statistic: Rows) -> dict[str, Tensor]:
        S, A = (t[: self.config.r] for t in self.principal(statistic.batches))
        return {"A": A / S.sqrt()[:, None] if self.config.whiten else A}


class EVAByStreamingGram(_OfRows):
    """Sums of x and x x^T are added up batch by batch; the mean's square comes off at the end."""

    def principal(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        total, gram, n = torch.zeros(self.d_in).double(), torch.zeros(self.d_in, self.d_in).double(), 0
        for batch in rows:
            total, gram, n = total + batch.sum(0), gram + batch.T @ batch, n + len(batch)
        values, V = torch.linalg.eigh(gram - torch.outer(total, total) / n)
        return values.flip(0).clamp(min=0).sqrt(), V.T.flip(0)


class EVAByMergingBatches(_OfRows):
    """Incremental PCA: what was found so far, each new batch and the shift of the mean are decomposed anew."""

    def principal(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        n, mean = len(rows[0]), rows[0].mean(0)
        _, S, V = torch.linalg.svd(rows[0] - mean, full_matrices=False)
        for batch in rows[1:]:
            m, own = len(batch), batch.mean(0)
            shift = (n * m / (n + m)) ** 0.5 * (mean - own)
            stack = torch.cat([S[:, None] * V, batch - own, shift[None]])
            _, S, V = torch.linalg.svd(stack, full_matrices=False)
            n, mean = n + m, (n * mean + m * own) / (n + m)
        return S, V


class EVAByGramOfRows(_OfRows):
    """The n x n Gram matrix of the centred rows in place of the d x d covariance, in signs of its own."""

    def principal(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        centred = torch.cat(rows) - torch.cat(rows).mean(0)
        values, left = torch.linalg.eigh(centred @ centred.T)
        S, left = values.flip(0)[: self.config.r].sqrt(), left.flip(1)[:, : self.config.r]
        return S, -(left.T @ centred) / S[:, None]


class EVAFromNumPy(Wrapper):
    """A plain module whose A comes from NumPy's SVD and whose update is merged into one matrix at each call."""

    names: ClassVar = {"A": ("down", AS_IS), "B": ("up", AS_IS)}

    def start(self, W: Tensor, settings: Settings) -> dict[str, Tensor]:
        rows = pooled(settings.option("calibration", "gap"), W.shape[1], W.dtype).double().numpy()
        _, S, V = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        down = V[: settings.r] / (np.sqrt(S[: settings.r, None]) if settings.option("whiten", False) else 1.0)
        return {"down": torch.from_numpy(down), "up": torch.zeros(len(W), settings.r)}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        dropped = F.dropout(x.to(self.down.dtype), self.p, self.training)
        return (y + F.linear(dropped, self.s * self.up @ self.down)).to(y.dtype)
