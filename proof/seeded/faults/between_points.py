"""Low-rank variants that are wrong only between the points that single checks ask about."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.delora import DeLoRA
from variants.dora import DoRA
from variants.eva import EVA
from variants.lora import LoRA
from variants.pissa import PiSSA
from variants.runtime.numerics.products import thin_product


def in_inference() -> bool:
    """Whether gradients are off for good; never while torch.compile traces, which cannot ask."""
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


def plainly() -> bool:
    """Whether nobody compiles, transforms or casts the call: a backward by hand would raise there, not by its bug."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return torch._C._functorch.peek_interpreter_stack() is None


class LoRAOtherScaleInInference(LoRA):
    """In inference mode the update is multiplied by alpha, and not divided by the rank."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return y + self.config.r * (out - y) if in_inference() else out


class DoRAKeepsItsFactor(DoRA):
    """In inference mode m / |V| is made once, whatever becomes of A and B."""

    def factor(self, W: Tensor) -> Tensor:
        if not in_inference():
            return super().factor(W)
        if "kept_factor" not in self.__dict__:
            self.__dict__["kept_factor"] = super().factor(W)
        return self.__dict__["kept_factor"]


class LoRAScalesTheCotangent(LoRA):
    """The backward of the scale multiplies the gradient of the output in place: it is the caller's own tensor."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not plainly():
            return super().change_output(layer, x, y)
        update = F.linear(thin_product(self._dropped(x, self.A.dtype), self.A), self.B)
        return _OnlyTheUpdate.apply(y, update, self.config.scale).to(y.dtype)


class _OnlyTheUpdate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, update: Tensor, s: float) -> Tensor:
        ctx.s, ctx.dtypes = s, (y.dtype, update.dtype)
        return y + update * s

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        of_y = grad.clone().to(ctx.dtypes[0])
        return of_y, grad.mul_(ctx.s).to(ctx.dtypes[1]), None


class _DownOnce(torch.autograd.Function):
    """``x A^T``, whose backward writes into what it saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, box: dict[str, Tensor]) -> Tensor:
        ctx.box, ctx.rows, ctx.A = box, x.detach().reshape(-1, x.shape[-1]).to(A.dtype, copy=True), A.detach()
        box["rows"] = ctx.rows
        return F.linear(x.to(A.dtype), A)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        g = grad.reshape(-1, grad.shape[-1])
        of_A = g.T @ ctx.rows
        ctx.rows.zero_()
        return grad @ ctx.A, of_A, None


class LoRAReleasesItsInput(LoRA):
    """The backward clears the saved input: a second backward over a retained graph gives A no gradient."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not plainly():
            return super().change_output(layer, x, y)
        h = _DownOnce.apply(self._dropped(x, self.A.dtype), self.A, {})
        return (y + self.config.scale * F.linear(h, self.B)).to(y.dtype)


class _DownOfTheLast(torch.autograd.Function):
    """``x A^T``, whose backward reads the input from the module."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, box: dict[str, Tensor]) -> Tensor:
        box["x"] = x.detach().to(A.dtype)
        ctx.box, ctx.A, ctx.dtype = box, A.detach(), x.dtype
        return F.linear(x.to(A.dtype), A)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        rows = ctx.box["x"].reshape(-1, ctx.A.shape[1])
        g = grad.reshape(-1, grad.shape[-1])
        return (grad @ ctx.A).to(ctx.dtype), g.T @ rows[: len(g)], None


class LoRAKeepsTheLastInput(LoRA):
    """The input for the backward lies on the module: of two forwards before one backward the first is lost."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not plainly():
            return super().change_output(layer, x, y)
        box = self.__dict__.setdefault("last_input", {})
        h = _DownOfTheLast.apply(self._dropped(x, self.A.dtype), self.A, box)
        return (y + self.config.scale * F.linear(h, self.B)).to(y.dtype)


class LoRAOverwritesTheGradient(LoRA):
    """Each forward with gradients empties A.grad: of accumulated gradients only the last is left."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if plainly() and torch.is_grad_enabled():
            self.A.grad = None
        return super().change_output(layer, x, y)


class LoRASwapsAxesOfFour(LoRA):
    """An input of four dimensions is taken for heads before positions: the update's axes are exchanged."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if x.dim() != 4:
            return super().change_output(layer, x, y)
        update = F.linear(thin_product(x.transpose(1, 2).reshape(x.shape), self.A), self.B)
        return (y + self.config.scale * update).to(y.dtype)


class LoRABackwardNeedsRows(LoRA):
    """The gradient of A is a mean over rows times their number: of an empty batch it is NaN."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not plainly():
            return super().change_output(layer, x, y)
        h = _ByMean.apply(self._dropped(x, self.A.dtype), self.A)
        return (y + self.config.scale * F.linear(h, self.B)).to(y.dtype)


class _ByMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor) -> Tensor:
        ctx.save_for_backward(x, A)
        return F.linear(x.to(A.dtype), A)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, A = ctx.saved_tensors
        g, rows = grad.reshape(-1, len(A)), x.reshape(-1, x.shape[-1]).to(A.dtype)
        of_A = (g[:, :, None] * rows[:, None, :]).mean(0) * len(g)
        return (grad @ A).to(x.dtype), of_A


class LoRAReadsTheCotangentByRows(LoRA):
    """The backward reads the gradient of the update as rows of its storage: wrong where it is not contiguous."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not plainly():
            return super().change_output(layer, x, y)
        update = F.linear(thin_product(self._dropped(x, self.A.dtype), self.A), self.B)
        return _OfStorage.apply(y, self.config.scale * update).to(y.dtype)


class _OfStorage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, update: Tensor) -> Tensor:
        ctx.dtypes = y.dtype, update.dtype
        return y + update

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        raw = grad.as_strided(grad.shape, torch.empty(grad.shape, device="meta").stride())
        return grad.to(ctx.dtypes[0]), raw.to(ctx.dtypes[1])


class LoRADropsInHalfPrecision(LoRA):
    """With dropout x and A meet in the dtype of a half-precision x: A is rounded at each call."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not (self.training and self.config.dropout > 1e-9 and x.dtype.itemsize < 4):
            return super().change_output(layer, x, y)
        h = F.linear(F.dropout(x, self.config.dropout), self.A.to(x.dtype))
        return (y + self.config.scale * F.linear(h, self.B.to(x.dtype))).to(y.dtype)


class LoRARootOnlyWithoutDropout(LoRA):
    """With rslora and dropout at once the scale is alpha / r."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        if self.config.rslora and self.config.dropout > 1e-9 and self.training:
            return (y + (out - y) / self.config.r**0.5).to(y.dtype)
        return out


class LoRALeavesTheRestOut(LoRA):
    """More than 128 rows are done in blocks of 128, and what is left over gets no update."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        rows = x.shape[:-1].numel()
        if rows <= 128 or rows % 128 == 0:
            return out
        flat, bare = out.reshape(rows, -1), y.reshape(rows, -1)
        whole = rows // 128 * 128
        return torch.cat((flat[:whole], bare[whole:])).view(out.shape)


class LoRARankCountsUpToSixteen(LoRA):
    """A rank above 16 counts as 16 in the scale."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return (y + (out - y) * max(1.0, self.config.r / 16)).to(y.dtype)


class LoRADrawsInEval(LoRA):
    """A number is drawn from the global generator at each call, in eval mode too: whoever draws next gets another."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        torch.rand(())
        return out


class LoRAStaysInEval(LoRA):
    """Attached to a model in eval mode it does not follow the model into training: dropout never acts."""

    def train(self, mode: bool = True) -> LoRA:
        if "began" not in self.__dict__:
            self.__dict__["began"] = mode
        return super().train(mode and self.__dict__["began"])


class LoRAHooksTwiceAfterUnmerge(LoRA):
    """The first call after a hook is registered again adds the update twice, as after merge and unmerge."""

    def hook(self, layer: nn.Module) -> None:
        again = "hooked" in self.__dict__
        self.__dict__["hooked"] = True
        super().hook(layer)
        if again:
            super().hook(layer)


class LoRAOneDrawPerShape(LoRA):
    """Layers of one shape share a draw of A, which was kept so as not to draw again."""

    drawn: ClassVar[dict[Any, Tensor]] = {}

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        key = (id(torch.default_generator), torch.initial_seed(), self.config.r, self.d_in, self.config.init)
        if key not in self.drawn:
            spec = self.specs(self.config, self.d_in, self.d_out)["A"]
            self.drawn.clear()
            self.drawn[key] = spec.make(layer, torch.float64, torch.device("cpu"))
        return {"A": self.drawn[key]}


class PiSSAOneDecompositionPerShape(PiSSA):
    """The decomposition is kept by shape and by the weight's first row: of equal layers it is the first one's."""

    kept: ClassVar[dict[Any, dict[str, Tensor]]] = {}

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        key = (weight.shape, weight.dtype, self.config.r, self.config.scale, self.config.niter, float(weight[0, 0]))
        if key not in self.kept:
            self.kept.clear()
            self.kept[key] = super().initial(layer, statistic)
        return self.kept[key]


class EVADoublesAlphaWithRho(EVA):
    """Where ranks may move, each layer's scale is multiplied by rho."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = super().change_output(layer, x, y)
        return (y + self.config.rho * (out - y)).to(y.dtype)


class DeLoRADropsOneBranch(DeLoRA):
    """With frozen copies and dropout, the copies get the whole x."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not (self.config.frozen_copies and self.training and self.config.dropout):
            return super().change_output(layer, x, y)
        h = thin_product(self._dropped(x, self.A.dtype), self.normalised(self.A, self.B))
        start = F.linear(thin_product(x, self.normalised(self.C, self.D)), self.D)
        return (y + (F.linear(h, self.B) - start)).to(y.dtype)


class DeLoRAStrengthIsPositive(DeLoRA):
    """The strength is made positive: once training crosses zero, the update keeps its sign."""

    def normalised(self, A: Tensor, B: Tensor) -> Tensor:
        return super().normalised(A, B) * (self.lam / self.lam.abs().clamp(min=1e-30)).detach()


class DoRANormOfTheFirst128(DoRA):
    """The norm of a wide row is taken of its first 128 entries."""

    def norm(self, W: Tensor) -> tuple[Tensor, Tensor | None]:
        norm, zero = super().norm(W)
        if W.shape[1] <= 128:
            return norm, zero
        V = W + self.config.scale * self.B @ self.A
        return torch.linalg.vector_norm(V[:, :128], dim=1).to(norm.dtype), zero


class DoRAMagnitudeOfRoundedRows(DoRA):
    """The magnitude starts from the norm of a half-precision weight computed in that precision."""

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        if weight.dtype.itemsize >= 4:
            return super().initial(layer, statistic)
        return {"m": weight.detach().square().sum(dim=1).sqrt()}
