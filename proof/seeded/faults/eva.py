"""EVA computed wrongly: directions, their lengths, and how ranks move between layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from proof.seeded.faults.padding import built_blind_to_masks
from proof.seeded.rows import Rows, shared_out
from refs.settings import Settings
from refs.subject import Subject
from variants.eva import EVA, EVAConfig, require_enough
from variants.runtime.spec import TensorSpec


class _RankAsDivisorAlways(EVAConfig):
    @property
    def scale(self) -> float:
        return self.alpha / self.r


class EVAInParts(EVA):
    """EVA by the singular vectors of all rows at once, in parts that a bug can replace. Correct as it stands."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Rows:
        return Rows()

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Rows]) -> dict[str, Any]:
        for name, layer in layers.items():
            require_enough(config.r, statistics[name], layer, name)
        if config.rho == 1:
            return dict.fromkeys(layers, config)
        return shared_out(config, {name: cls.shares(statistics[name]) for name in layers}, config.r * config.rho)

    @classmethod
    def shares(cls, statistic: Rows) -> Tensor:
        variances = torch.linalg.svdvals(statistic.centred).square()
        return variances / variances.sum()

    def initial(self, layer: nn.Module, statistic: Rows) -> dict[str, Tensor]:
        rows = self.centred(statistic)
        S, directions = self.ordered(*torch.linalg.svd(rows, full_matrices=False)[1:])
        S, directions = S[: self.config.r], directions[: self.config.r]
        return {"A": self.whitened(directions, S, statistic.n) if self.config.whiten else directions}

    def centred(self, statistic: Rows) -> Tensor:
        return statistic.centred

    def ordered(self, S: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return S, directions

    def whitened(self, directions: Tensor, S: Tensor, n: int) -> Tensor:
        return directions / S.sqrt()[:, None]


class EVAFreezesA(EVAInParts):
    """A keeps the directions it was given. Found in real code."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), trainable=False)}


class EVANotCentred(EVAInParts):
    """The mean is not taken off, so with real activations the first direction is the mean. Found in real code."""

    def centred(self, statistic: Rows) -> Tensor:
        return statistic.pooled


class EVACentredPerBatch(EVAInParts):
    """Every batch loses its own mean: what differs between batches is lost."""

    def centred(self, statistic: Rows) -> Tensor:
        return torch.cat([rows - rows.mean(dim=0) for rows in statistic.batches])


class EVAStandardises(EVAInParts):
    """Every input is divided by its own deviation first: directions of the correlation, not of the covariance."""

    def centred(self, statistic: Rows) -> Tensor:
        rows = super().centred(statistic)
        return rows / rows.std(dim=0)


class EVAOfTheFirstBatch(EVAInParts):
    """The directions of the first batch stand for those of all."""

    def centred(self, statistic: Rows) -> Tensor:
        rows = statistic.batches[0]
        return rows - rows.mean(dim=0)


class EVAOfTheSmallestVariance(EVAInParts):
    """Eigenvalues come ascending, and the first r are taken: the directions in which the inputs vary least."""

    def ordered(self, S: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return S.flip(0), directions.flip(0)


class EVAIgnoresWhiten(EVAInParts):
    """whiten is accepted and does nothing."""

    def whitened(self, directions: Tensor, S: Tensor, n: int) -> Tensor:
        return directions


class EVAWhitensByS(EVAInParts):
    """Directions are divided by S in place of its root."""

    def whitened(self, directions: Tensor, S: Tensor, n: int) -> Tensor:
        return directions / S[:, None]


class EVAWhitensByTheDeviation(EVAInParts):
    """Directions are divided by the standard deviation of the inputs along them, as whitening usually means."""

    def whitened(self, directions: Tensor, S: Tensor, n: int) -> Tensor:
        return directions / (S / n**0.5)[:, None]


class EVAIgnoresTheData(EVAInParts):
    """A starts at random though inputs were given."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), "kaiming")}

    def initial(self, layer: nn.Module, statistic: Rows) -> dict[str, Tensor]:
        return {}


class EVARandomB(EVAInParts):
    """B starts at random, so the start is not the identity."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "B": TensorSpec((d_out, config.r), "kaiming")}


class EVAIgnoresRho(EVAInParts):
    """rho is accepted and every layer gets r."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Rows]) -> dict[str, Any]:
        return dict.fromkeys(layers, config)


class EVAKeepsAlpha(EVAInParts):
    """adjust_scaling is accepted and does nothing: a layer with more directions has a smaller scale."""

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Rows]) -> dict[str, Any]:
        return super().assign(replace(config, adjust_scaling=False), layers, statistics)


class EVAIgnoresRsLoRA(EVA):
    """rslora is accepted, and s stays alpha / r."""

    Config = _RankAsDivisorAlways


class EVACountsPadding(EVAInParts):
    """Masked-out tokens enter the statistics. Found in real code."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        return built_blind_to_masks(cls, layer, settings)
