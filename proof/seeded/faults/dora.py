"""DoRA computed wrongly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.dora import DoRA
from variants.lora import LoRAConfig
from variants.runtime.adapter import row_norm
from variants.runtime.spec import TensorSpec


class DoRAInParts(DoRA):
    """DoRA as b + factor * V x, in parts that a bug can replace one at a time. Correct as it stands."""

    def norm(self, W: Tensor) -> Tensor:
        with torch.no_grad():
            return row_norm(W + self.config.scale * self.B @ self.A)

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dtype = self.A.dtype
        W, b, s = layer.weight.to(dtype), layer.bias, self.config.scale
        factor = self.factor(W)
        dropped = F.dropout(x.to(dtype), self.config.dropout, self.training)
        base = self.base_term(W, x.to(dtype), dropped)
        update = factor * s * F.linear(F.linear(dropped, self.A), self.B)
        return self.combine(y, (factor - 1) * base, update, factor, b).to(y.dtype)

    def factor(self, W: Tensor) -> Tensor:
        norm = self.norm(W)
        return torch.where(norm > 0, self.m / torch.where(norm > 0, norm, 1), 1)

    def base_term(self, W: Tensor, x: Tensor, dropped: Tensor) -> Tensor:
        return F.linear(dropped, W)

    def combine(self, y: Tensor, rescaled: Tensor, update: Tensor, factor: Tensor, b: Tensor | None) -> Tensor:
        return y + rescaled + update


class DoRAScalesTheBias(DoRAInParts):
    """The whole base output is scaled by m / |V|, bias included. Found in real code."""

    def combine(self, y: Tensor, rescaled: Tensor, update: Tensor, factor: Tensor, b: Tensor | None) -> Tensor:
        return y + rescaled + update + (0 if b is None else (factor - 1) * b)


class DoRADropsTheOutputUnderneath(DoRAInParts):
    """With dropout the plain W x underneath is dropped as well: b + (m / |V|) V drop(x)."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        V = layer.weight.to(self.A.dtype) + self.config.scale * self.B @ self.A
        return F.linear(dropped, self.factor(layer.weight.to(self.A.dtype))[:, None] * V, layer.bias).to(y.dtype)


class DoRABaseTermWithoutDropout(DoRAInParts):
    """The (m / |V| - 1) W x term sees the whole x. Found in real code."""

    def base_term(self, W: Tensor, x: Tensor, dropped: Tensor) -> Tensor:
        return F.linear(x, W)


class DoRANormNotDetached(DoRAInParts):
    """The gradient flows through |V|; the forward is exact. Found in real code."""

    def norm(self, W: Tensor) -> Tensor:
        return row_norm(W + self.config.scale * self.B @ self.A)


class DoRANormOfTheUnscaledUpdate(DoRAInParts):
    """|W + B A| in place of |W + s B A|: right for alpha = r. Found in real code."""

    def norm(self, W: Tensor) -> Tensor:
        with torch.no_grad():
            return row_norm(W + self.B @ self.A)


class DoRANormOfTheBase(DoRAInParts):
    """|W| in place of |V|: right at t=0 and never again."""

    def norm(self, W: Tensor) -> Tensor:
        with torch.no_grad():
            return row_norm(W)


class DoRAKeepsTheFirstNorm(DoRAInParts):
    """|V| is computed at the first call and kept while B and A train on."""

    first: Tensor | None = None

    def norm(self, W: Tensor) -> Tensor:
        if self.first is None:
            self.__dict__["first"] = super().norm(W)
        return self.first


class DoRAEpsilonInTheNorm(DoRAInParts):
    """|V| + 1e-3 against the division by zero: an epsilon that bfloat16 would need."""

    def norm(self, W: Tensor) -> Tensor:
        return super().norm(W) + 1e-3


class _InTheLayersDtype(DoRAInParts):
    """Tells ``norm`` what the layer's dtype is."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.__dict__["rough"] = layer.weight.dtype
        return super().change_output(layer, x, y)


class DoRAEpsilonOfTheLayer(_InTheLayersDtype):
    """|V| + eps of the layer's dtype: nothing in float64, 1e-2 in bfloat16. Found in real code."""

    def norm(self, W: Tensor) -> Tensor:
        norm = super().norm(W)
        return norm if self.rough == torch.float64 else norm + torch.finfo(self.rough).eps


class DoRANormInTheLayersDtype(_InTheLayersDtype):
    """|V| is computed in the layer's dtype: up to a spacing of bfloat16 away, the same way for a whole row."""

    def norm(self, W: Tensor) -> Tensor:
        with torch.no_grad():
            V = W.to(self.rough) + (self.config.scale * self.B @ self.A).to(self.rough)
            return row_norm(V).to(W.dtype)


class DoRANanAtAZeroRow(DoRAInParts):
    """A row of W that is zero gives 0 / 0. peft issue 2049; peft still has it, so the closed form must tell."""

    def factor(self, W: Tensor) -> Tensor:
        return self.m / self.norm(W)


class DoRACutsTheBaseGradient(DoRAInParts):
    """The base term runs under no_grad: layers below get the gradient of the update only."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return super().change_output(layer, x, y.detach())


class DoRAUpdateNotRescaled(DoRAInParts):
    """m / |V| scales W x and leaves the update alone."""

    def combine(self, y: Tensor, rescaled: Tensor, update: Tensor, factor: Tensor, b: Tensor | None) -> Tensor:
        return y + rescaled + update / factor


class DoRAIgnoresTheMagnitude(DoRAInParts):
    """m is there, trains and is saved, and the output is V x."""

    def factor(self, W: Tensor) -> Tensor:
        return torch.ones_like(self.m)


class DoRADeadMagnitude(DoRAInParts):
    """m is detached in the forward: exact output, and the magnitude never learns."""

    def factor(self, W: Tensor) -> Tensor:
        return super().factor(W).detach()


class DoRANormBlindToCancellation(DoRAInParts):
    """|V|^2 by expansion alone: where B A nearly cancels W, what is left is rounding."""

    def norm(self, W: Tensor) -> Tensor:
        with torch.no_grad():
            s, A, B = self.config.scale, self.A, self.B
            squared = W.square().sum(1) + 2 * s * (W @ A.T * B).sum(1) + s**2 * (B @ (A @ A.T) * B).sum(1)
            return squared.clamp(min=0).sqrt()


class DoRACachesTheNormOfW(DoRAInParts):
    """|V| is kept while A and B are what they were: a base weight that moves is not noticed."""

    def norm(self, W: Tensor) -> Tensor:
        key = tuple((id(t), t._version, t.data_ptr()) for t in (self.A, self.B)), W.dtype
        if self.__dict__.get("key") != key:
            self.__dict__.update(key=key, kept=super().norm(W))
        return self.kept


class _Started(DoRA):
    """DoRA whose magnitude starts at another value."""

    @classmethod
    def start(cls, shape: torch.Size, layer: nn.Module) -> Tensor:
        return torch.ones(shape)

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "m": TensorSpec((d_out,), cls.start)}


class DoRAMagnitudeOfOnes(_Started):
    """m is never set from W. Found in real code."""


class DoRAMagnitudeNeverInitialised(_Started):
    """m stays at the zeros it was allocated with: the layer gives its bias and nothing else. Found in real code."""

    @classmethod
    def start(cls, shape: torch.Size, layer: nn.Module) -> Tensor:
        return torch.zeros(shape)


class DoRAMagnitudeOfTheFrobeniusNorm(_Started):
    """m starts at one number, |W| over the whole matrix."""

    @classmethod
    def start(cls, shape: torch.Size, layer: nn.Module) -> Tensor:
        return layer.weight.detach().norm().expand(shape)


class DoRAColumnNorm(DoRA):
    """|V| and m go over the columns (d_in) in place of the rows (d_out); the paper's own notation invites it."""

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        columns = TensorSpec((d_in,), lambda shape, layer: layer.weight.detach().float().norm(dim=0))
        return {**super().specs(config, d_in, d_out), "m": columns}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = F.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        V = layer.weight.to(self.A.dtype) + self.config.scale * self.B @ self.A
        bias = 0 if layer.bias is None else layer.bias.to(V.dtype)
        return (F.linear(dropped * (self.m / V.detach().norm(dim=0)), V) + bias).to(y.dtype)


class DoRAStartsFromARoundedSum(DoRAInParts):
    """m is a norm whose squares are added up in the layer's dtype: in bfloat16 it starts some spacings off."""

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        def summed(shape: torch.Size, layer: nn.Module) -> Tensor:
            W = layer.weight.detach()
            total = torch.zeros_like(W[:, 0])
            for column in W.unbind(1):
                total = total + column * column
            return total.sqrt().float() if W.itemsize < 4 else W.norm(dim=1)

        return {**super().specs(config, d_in, d_out), "m": TensorSpec((d_out,), summed)}
