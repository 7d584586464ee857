"""Variants that are wrong where nothing asked when they were written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from variants.antipasto import AntiPaSTO
from variants.antipasto_ablate import AntiPaSTOAblate
from variants.antipasto_arrow import AntiPaSTOArrow
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.delora import DeLoRA
from variants.hra import HRA
from variants.ia3 import IA3
from variants.road import ROAD
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.numerics.products import plus_product, thin_product
from variants.runtime.spec import TensorSpec
from variants.svd_family import Factors, MeanAbs, oriented, pooled, strongest, svd


class DeLoRAKeptPastLam(DeLoRA):
    """What is kept in inference mode is made anew for another A or B, but not for another lam or w."""

    def normalised(self, A: Tensor, B: Tensor) -> Tensor:
        make = super().normalised
        return self._kept((A, B), lambda: make(A, B))


class HRAStartOfDefaultEps(HRA):
    """The start on the output side is drawn for the default eps, whatever eps is."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        if config.side == "output" and not config.gram_schmidt:
            default = type(config)(r=config.r, side="output")
            specs["U"] = super().specs(default, d_in, d_out)["U"]
        return specs


class HRAKeepsTheBase(HRA):
    """What is kept beside a half-precision layer follows from U and from W, and is made anew for another U alone."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wide = self._wide(x)
        if self.config.side == "output" or x.dtype == wide:
            return super().change_output(layer, x, y)
        U, KW = self._kept((self.U,), lambda: self._through(layer, wide), wide)
        return plus_product(y, thin_product(x, U), KW, -1).to(y.dtype)


class IA3RoundsTheGateInUse(IA3):
    """The gate is kept in float32 and rounded to the activation's dtype before the product: small steps do nothing."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return y * self.g.to(y.dtype)


class _Gate(torch.autograd.Function):
    """g y, with a backward that keeps y detached."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, g: Tensor) -> Tensor:
        return (y * g).to(y.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        y, g = inputs
        ctx.save_for_backward(g)
        ctx.y = y.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (g,) = ctx.saved_tensors
        of_g = (grad * ctx.y).to(torch.promote_types(g.dtype, ctx.y.dtype)).sum_to_size(g.shape)
        return (grad * g).to(ctx.y.dtype), of_g.to(g.dtype)


class IA3SecondDerivativeWithoutY(IA3):
    """The gradient of g is right, and its own derivative lacks what goes through y."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = _Gate.apply(y, self.g)
        return out


class ROADKeptPastAlpha(ROAD):
    """What is kept in inference mode is made anew for another theta, but not for another alpha."""

    def _kept(self, sources: tuple[Tensor, ...], make: Callable[[], Any], key: Any = None) -> Any:
        return super()._kept(sources[:1], make, key)


class AntiPaSTOMergesTheConfig(AntiPaSTO):
    """Merging takes the coefficient of the config, not the one that steer() has set since."""

    def _twin(self) -> Any:
        twin = super()._twin()
        twin.coeff = float(self.config.coeff)
        return twin


class _SharedMeanAbs(MeanAbs):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.share_key = ("mean_abs", *sizes_of(layer))


class AntiPaSTOSharesMeanAbs(AntiPaSTO):
    """Layers of one shape share their mean of absolute values, taken along the first layer's directions."""

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Any:
        return _SharedMeanAbs(layer) if config.act_pool == "mean_abs" else super().statistic(config, layer)

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        if not isinstance(statistic, MeanAbs):
            return super().factors(W, statistic)
        self.require_rows(statistic)
        U, S, Vh = svd(W.float())
        kept = strongest(S.cpu() * pooled(statistic, Vh), self.config.r).to(S.device)
        return U[:, kept], S[kept], Vh[kept]


class AntiPaSTOAblateAlphaInFloat32(AntiPaSTOAblate):
    """alpha is made in float32 and cast: in float64 it starts at 0.0500000007."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        start = TensorSpec((config.k,), lambda shape, layer: torch.full(shape, config.init_alpha))
        return {**super().specs(config, d_in, d_out), "alpha": start}


class AntiPaSTOArrowOfTheStoredWeight(AntiPaSTOArrow):
    """The weight is decomposed as the layer stores it: a Conv1D's is transposed."""

    layers = ("conv1d",)

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        return dict(zip(("U", "S", self.right), self.factors(layer.weight.detach(), statistic)))


class _Single:
    def __init__(self, statistic: Any) -> None:
        self.spectrum = tuple(t.double() for t in torch.linalg.eigh(statistic.second.float()))


class AntiPaSTOCorDASpectrumInSingle(AntiPaSTOCorDA):
    """E[x x^T] is decomposed in float32: eigenvalues below 1e-7 of the largest are noise."""

    def factors(self, W: Tensor, statistic: Any) -> Factors:
        self.require_rows(statistic)
        return oriented(W, _Single(statistic), self.config.cov_eps, self.config.r)
