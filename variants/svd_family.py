"""What the SVD-steering variants share (AntiPaSTO, arXiv 2601.07473): factors, residual, choice of directions, gain.

    W  = U diag(S) Vh + W_res                     U: (d_out, r), S: (r,), Vh: (r, d_in), frozen
    y' = W_res x + b + U core(Vh x)               core: (r,) -> (r,), the method's own; diag(S) where coeff = 0

W_res replaces W in the layer and is computed from the factors as they are stored, so their rounding causes no error.
A quantised layer keeps its weight, since W_res would be rounded once more; W is the dequantised weight, and

    y' = W x + b + U (core(Vh x) - S * (Vh x))

``coeff`` steers at run time: 0 gives the base model back, whatever was trained.

Directions: the r largest singular values; or, with calibration inputs x, the r largest scores over all of W's
directions, kept in the order of the spectrum,

    score_i = S_i pool(x Vh_i^T)                  pool: sqrt(mean z^2) (rms) or mean |z| (mean_abs), x not centred

or a basis that is oriented by the inputs (CorDA, arXiv 2406.05223), with symmetric roots of C = E[x x^T] + eps I:

    W C^(1/2) = U diag(S) V,  P = V C^(-1/2)      P: (r, d_in) in the place of Vh; its rows are not orthonormal
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.options import option
from variants.runtime.adapter import Adapter
from variants.runtime.calibrate import Moments
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import is_conv1d
from variants.runtime.layers.numbers import numbers_of
from variants.runtime.numerics.krylov import top_svd
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import TensorSpec

Factors = tuple[Tensor, Tensor, Tensor]
"""``U: (d_out, n), S: (n,), Vh: (n, d_in)``."""


@dataclass(frozen=True, kw_only=True)
class SVDConfig(AdapterConfig):
    """What the SVD-steering variants share: the number of directions and the steering coefficient."""

    r: int = option(
        256,
        "number of directions of the weight that are taken over",
        range="an integer of at least 1, at most min(d_out, d_in)",
        symbol="r",
        paper="rank",
        change="lower it for small layers; the rest of the weight stays frozen in W_res",
    )
    coeff: float = option(
        1.0,
        "steering coefficient at t=0; adapter.steer() changes it",
        range="a finite number",
        symbol="coeff",
        paper="alpha",
        change="0 is the base model, -1 the opposite direction",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_rank(self.r)
        self.require_finite("coeff", self.coeff)


class SVDAdapter(Adapter):
    """See the module's docstring. A method adds its trainable tensors to ``specs`` and says what ``core`` is."""

    right: ClassVar[str] = "Vh"
    """The name of the input-side factor."""
    config: SVDConfig
    U: Tensor
    S: Tensor

    def __init__(self, config: SVDConfig, layer: nn.Module, **given: Any) -> None:
        super().__init__(config, layer, **given)
        self.coeff = float(config.coeff)

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {
            "U": TensorSpec((d_out, config.r), buffer=True),
            "S": TensorSpec((config.r,), buffer=True),
            cls.right: TensorSpec((config.r, d_in), buffer=True),
        }

    def check_layer(self, layer: nn.Module) -> None:
        self.require_numbers(layer)
        if not (isinstance(layer, nn.Linear) or is_conv1d(layer)):
            raise AdapterError(
                got=f"a {type(layer).__name__}",
                want="an nn.Linear (the method replaces its weight)",
                where=self.name,
                fix="Leave this layer out with Targets(exclude=...), or choose a method that leaves the weight alone.",
            )
        self.require_rank_at_most(min(self.d_in, self.d_out), "the number of singular values")

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        return dict(zip(("U", "S", self.right), self.factors(numbers_of(layer).detach(), statistic)))

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        """The r directions the adapter works on: of the largest scores, or without data of the largest S."""
        if statistic is None:
            return top_svd(W.float(), self.config.r)
        self.require_rows(statistic)
        U, S, Vh = statistic.svd if isinstance(statistic, MeanAbs) else svd(W.float())
        kept = strongest(S.cpu() * pooled(statistic, Vh), self.config.r).to(S.device)
        return U[:, kept], S[kept], Vh[kept]

    def require_rows(self, statistic: Any) -> None:
        """Refuse calibration that is missing, or that has fewer rows than there are directions to choose."""
        if statistic is None or statistic.n < self.config.r:
            raise AdapterError(
                got="no calibration batches" if statistic is None else f"{statistic.n} calibration rows",
                want=f"at least r={self.config.r} rows: with this config the directions depend on the layer's inputs",
                where=self.name,
                fix="Pass (more) batches to attach(..., calibration=); load() needs none.",
            )

    def residual(self, W: Tensor) -> Tensor:
        wide = self._wide(W)
        U, S, Vh = (t.to(wide) for t in (self.U, self.S, getattr(self, self.right)))
        return (W.to(wide) - (U * S) @ Vh).to(W.dtype)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = self._wide(x)
        h = thin_product(x, getattr(self, self.right).to(wide))
        core = self.core(h)
        if self.on_codes:
            core = core - h * self.S.to(wide)
        return plus_product(y, core, self.U.to(wide).t()).to(y.dtype)

    def core(self, h: Tensor) -> Tensor:
        """From the coordinates ``h = x Vh^T: (..., r)`` to those of the output along U, in the dtype of ``h``."""
        raise NotImplementedError

    def _wide(self, like: Tensor) -> torch.dtype:
        """The dtype to compute in: at least float32 (a small change of S would drown in bfloat16)."""
        return torch.promote_types(torch.promote_types(like.dtype, self.U.dtype), torch.float32)


def gain(g: Tensor, coeff: float, suppress_only: bool) -> Tensor:
    """``1 + ELU(coeff g)``: positive, slope 1 on both sides of 0.

    ``suppress_only`` cuts g at 0 from above before the product, and lets the gradient pass at exactly 0.
    """
    return 1 + F.elu(coeff * (g.clamp(max=0) if suppress_only else g))


def svd(M: Tensor) -> Factors:
    """All singular triplets, largest first."""
    U, S, Vh = torch.linalg.svd(M, full_matrices=False)
    return U, S, Vh


def strongest(scores: Tensor, r: int) -> Tensor:
    """Indices of the r largest scores, ascending; of equal scores the first."""
    return torch.sort(scores, descending=True, stable=True).indices[:r].sort().values


class MeanAbs:
    """``(1/n) sum |x Vh_i^T|`` over all singular directions of one layer's weight, streamed in float64."""

    share_key = None

    def __init__(self, layer: nn.Module) -> None:
        self.n = 0
        self._layer = layer
        self._sum = torch.zeros((), dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take in ``rows: (n, d_in)``."""
        self.n += len(rows)
        rows, Vh = (t.detach().to("cpu", torch.float64) for t in (rows, self.svd[2]))
        self._sum = self._sum + (rows @ Vh.T).abs().sum(dim=0)

    @property
    def mean_abs(self) -> Tensor:
        """``(min(d_in, d_out),)``."""
        return self._sum / self.n

    @cached_property
    def svd(self) -> Factors:
        """Of the layer's weight, which is the same while inputs are gathered and when factors are made."""
        return svd(numbers_of(self._layer).detach().float())


def pooled(statistic: Moments | MeanAbs, Vh: Tensor) -> Tensor:
    """How far the inputs reach along each row of ``Vh``, pooled over rows."""
    if isinstance(statistic, MeanAbs):
        return statistic.mean_abs
    V = Vh.to("cpu", torch.float64)
    return ((V @ statistic.second) * V).sum(dim=1).clamp(min=0).sqrt()


def oriented(W: Tensor, statistic: Moments, eps: float, r: int) -> Factors:
    """U, S and P for the inputs' ``second = E[x x^T]``, whose eigenvalues are cut at 0 and raised by ``eps``."""
    values, E = (t.to(W.device) for t in statistic.spectrum)
    root = (values.clamp(min=0) + eps).sqrt()
    U, S, V = svd(((W.double() @ E) * root) @ E.T)
    return U[:, :r], S[:r], ((V[:r] @ E) / root) @ E.T
