"""LoRA initialised with the principal directions of the layer's inputs (EVA, Paischer et al. 2024, arXiv 2410.07170).

    y' = W x + b + s B A x            A: (r, d_in), B: (d_out, r), s = alpha / r (rsLoRA: alpha / sqrt(r))
    (1/n) sum (x - mean)(x - mean)^T = V diag(v) V^T,  v descending, over all n calibration rows x
    A  = V[:, :r]^T, with ``whiten`` each row divided by sqrt(S_i),  S_i = sqrt(n v_i)

The rows of every batch are pooled, in float64, without the masked-out tokens; S are the singular values of the
centred (n, d_in) data. The largest entry of each direction is positive.

With ``rho`` > 1 the ranks move to where the inputs vary most: over all layers, the directions with the largest share
of their layer's variance are kept, r times the number of layers in all and round(r rho) at most in one. A layer that
keeps none gets no adapter. ``adjust_scaling`` multiplies alpha of a layer by (its rank) / r.

Identity at t=0: B = 0 exactly, so A gets no gradient in the first step and B does; both train.
Reference: ``peft.tuners.lora.eva``, ``peft.utils.incremental_pca``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from variants.lora import LoRA
from variants.options import documented, option
from variants.runtime.calibrate import Moments
from variants.runtime.config import LowRankConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.numerics.krylov import top_eigh
from variants.runtime.spec import TensorSpec


@documented
@dataclass(frozen=True, kw_only=True)
class EVAConfig(LowRankConfig):
    """Configuration of EVA."""

    rho: float = option(
        2.0,
        "how many times r one layer may get when ranks move between layers",
        range="a number of at least 1",
        symbol="rho, at most round(r rho) directions",
        paper="rho",
        peft="eva_config.rho",
        change="1 gives every layer exactly r",
    )
    adjust_scaling: bool = option(
        True,
        "whether a layer's alpha follows its rank, so that s stays the same",
        range="True or False",
        symbol="alpha of a layer",
        paper="rescaling of alpha",
        peft="eva_config.adjust_scaling_factors",
        change="False keeps alpha, so layers of a small rank get a larger s",
    )
    whiten: bool = option(
        False,
        "whether each row of A is divided by sqrt(S_i)",
        range="True or False",
        symbol="S_i = sqrt(n v_i)",
        paper="whitening",
        peft="eva_config.whiten",
        change="True gives directions of little variance the larger rows",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_finite("rho", self.rho)
        self.require(self.rho >= 1, "rho", self.rho, "a number of at least 1")
        self.require_flag("adjust_scaling", self.adjust_scaling)
        self.require_flag("whiten", self.whiten)


class Inputs(Moments):
    """The moments of a layer's inputs and, once they are complete, their first k principal directions."""

    def __init__(self, d_in: int, k: int) -> None:
        super().__init__(d_in)
        self.share_key = ("inputs", d_in, k)
        self.k = k

    @cached_property
    def principal(self) -> tuple[Tensor, Tensor]:
        """Variances, descending: ``(k,)``; directions with a settled sign, as rows: ``(k, d_in)``."""
        variances, directions = top_eigh(self.covariance, self.k)
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        return variances, directions * largest.sign()

    def shares(self) -> list[float]:
        """The share of each direction in the whole variance; zeros where nothing varies."""
        whole = self.covariance.trace().item()
        return [v / whole if whole > 0 else 0.0 for v in self.principal[0].tolist()]


class EVA(LoRA):
    """See the module's docstring."""

    name = "eva"
    Config = EVAConfig  # type: ignore[assignment]
    config: EVAConfig  # type: ignore[assignment]

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {"A": TensorSpec((config.r, d_in)), "B": TensorSpec((d_out, config.r))}

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Inputs:
        return Inputs(_d_in(layer), min(round(config.r * config.rho), _d_in(layer)))

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        if config.rho == 1 or not statistics:
            return super().assign(config, layers, statistics)
        shares = []
        for name, layer in layers.items():
            require_enough(config.r, statistics[name], layer, f"eva at {name}")
            shares += [(share, name) for share in statistics[name].shares()]
        shares.sort(key=lambda entry: -entry[0])  # stable: of equal shares the first layer's come first
        ranks = Counter(name for _, name in shares[: config.r * len(layers)])
        return {name: _with_rank(config, ranks[name]) for name in layers if ranks[name]}

    def check_layer(self, layer: nn.Module) -> None:
        self.require_rank_at_most(self.d_in, "there are no more directions than inputs")

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        r = self.config.r
        require_enough(r, statistic, layer, f"eva on a layer {self.d_in} -> {self.d_out}")
        variances, directions = statistic.principal
        if not self.config.whiten:
            return {"A": directions[:r]}
        if not variances[r - 1] > self.d_in * torch.finfo(variances.dtype).eps * variances[0]:
            raise AdapterError(
                got=f"inputs that vary in fewer than {r} directions",
                want=f"some variance in each of r={r} directions, to divide by",
                where=f"eva on a layer {self.d_in} -> {self.d_out}",
                fix="Lower r, leave this layer out with Targets(exclude=...), or use whiten=False.",
            )
        S = (statistic.n * variances[:r]).sqrt()
        return {"A": directions[:r] / S.sqrt()[:, None]}


def require_enough(r: int, statistic: Inputs | None, layer: nn.Module, where: str) -> None:
    """Refuse to make up directions that no data have shown."""
    if statistic is None:
        raise AdapterError(
            got="no calibration batches",
            want="calibration batches: EVA takes A from the layer's inputs",
            where=where,
            fix="Pass attach(..., calibration=batches); load() needs none.",
        )
    if not statistic.n:
        fix = "Pass at least one batch; rows that an attention_mask leaves out do not count."
        raise AdapterError(got="the calibration data is empty", where=where, fix=fix)
    if statistic.n < r or _d_in(layer) < r:
        raise AdapterError(
            got=f"{statistic.n} rows of {_d_in(layer)} inputs",
            want=f"at least r={r} of both",
            where=where,
            fix="Pass more calibration batches, lower r, or leave this layer out with Targets(exclude=...).",
        )


def _with_rank(config: EVAConfig, rank: int) -> EVAConfig:
    alpha = config.alpha * rank / config.r if config.adjust_scaling else config.alpha
    return replace(config, r=rank, alpha=alpha)


def _d_in(layer: nn.Module) -> int:
    return sizes_of(layer)[0]
