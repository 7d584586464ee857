"""LoRA with the wrong tensors: how they start, how they are stored, what trains."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from refs.settings import Settings
from refs.subject import Subject
from subjects.own.attached import attached
from variants.lora import LoRA, LoRAConfig
from variants.runtime.spec import Initial, TensorSpec


class _KaimingOfTheScale(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return lambda shape, layer: nn.init.kaiming_uniform_(torch.empty(shape), a=self.scale)


class _FanFromTheRank(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return lambda shape, layer: nn.init.kaiming_uniform_(torch.empty(shape[::-1]), a=math.sqrt(5)).T


class _NormalForUniform(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return lambda shape, layer: torch.randn(shape) / math.sqrt(3 * shape[1])


class _GaussianOfTheRoot(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return _over_root if self.init == "gaussian" else "kaiming"


class _GaussianIgnored(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return "kaiming"


class _OneSeed(LoRAConfig):
    @property
    def initial_A(self) -> Initial:
        return _from_seed_zero


def _over_root(shape: torch.Size, layer: nn.Module) -> Tensor:
    return torch.randn(shape) / math.sqrt(shape[0])


def _from_seed_zero(shape: torch.Size, layer: nn.Module) -> Tensor:
    return (2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1) / math.sqrt(shape[1])


class LoRAKaimingOfTheScale(LoRA):
    """Kaiming's a is given alpha / r in place of sqrt(5). Found in real code."""

    Config = _KaimingOfTheScale


class LoRAFanFromTheRank(LoRA):
    """A is filled as (d_in, r), so its fan-in is the rank. Found in real code."""

    Config = _FanFromTheRank


class LoRANormalForUniform(LoRA):
    """A is normal with the uniform's standard deviation: only the shape of the distribution differs."""

    Config = _NormalForUniform


class LoRAGaussianOfTheRoot(LoRA):
    """init="gaussian" with standard deviation 1/sqrt(r) in place of 1/r."""

    Config = _GaussianOfTheRoot


class LoRAGaussianIgnored(LoRA):
    """init="gaussian" is accepted and Kaiming is used. Real code had such options that silently do nothing."""

    Config = _GaussianIgnored


class LoRAOneSeed(LoRA):
    """A comes from a generator of its own that always starts at 0: every seed and every layer starts alike."""

    Config = _OneSeed


class _Retyped(LoRA):
    """LoRA with the fields of some of its ``TensorSpec`` replaced."""

    changes: ClassVar[dict[str, dict[str, Any]]]

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        specs = super().specs(config, d_in, d_out)
        return {name: TensorSpec(**{**spec.__dict__, **cls.changes.get(name, {})}) for name, spec in specs.items()}


class LoRAKaimingB(_Retyped):
    """B starts at random too, so the start is not the identity. Real code had it, of DeLoRA's B."""

    changes: ClassVar[dict[str, dict[str, Any]]] = {"B": {"initial": "kaiming"}}


class LoRARowsOfZeros(_Retyped):
    """A starts at zero and B at random: the identity as well, with the live and dead gradients exchanged."""

    changes: ClassVar[dict[str, dict[str, Any]]] = {"A": {"initial": "zeros"}, "B": {"initial": "kaiming"}}


class LoRAStuckAtZero(_Retyped):
    """A and B both start at zero: a perfect identity that can never train. Real code had it, of DeLoRA."""

    changes: ClassVar[dict[str, dict[str, Any]]] = {"A": {"initial": "zeros"}}


class LoRAFrozenA(_Retyped):
    """A does not train. Real code had it, of EVA."""

    changes: ClassVar[dict[str, dict[str, Any]]] = {"A": {"trainable": False}}


class LoRABufferA(_Retyped):
    """A is registered as a buffer: saved and moved, never trained."""

    changes: ClassVar[dict[str, dict[str, Any]]] = {"A": {"buffer": True}}


class LoRATransposedStorage(LoRA):
    """B is stored as (r, d_out) under the formula's name: a file of (d_out, r) does not load."""

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "B": TensorSpec((config.r, d_out))}

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        dropped = nn.functional.dropout(x.to(self.A.dtype), self.config.dropout, self.training)
        return (y + self.config.scale * dropped @ self.A.T @ self.B).to(y.dtype)


class LoRAPlainTensorA(LoRA):
    """A is an attribute, not a parameter: no optimiser and no state_dict sees it. Found in real code."""

    def __init__(self, config: LoRAConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        A = self.A.detach().requires_grad_()
        del self.A
        self.__dict__["A"] = A


class LoRAUnlistedTensor(LoRA):
    """A leftover parameter that nobody listed goes to the optimiser and into every file."""

    def __init__(self, config: LoRAConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        self.leftover = nn.Parameter(torch.zeros(config.r))


class LoRAListsATensorItIgnores(LoRA):
    """A gate is listed, saved and loaded, and the forward never looks at it. Found in real code."""

    @classmethod
    def specs(cls, config: LoRAConfig, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "gate": TensorSpec((d_out,), "ones")}


class LoRASilentlyBf16(LoRA):
    """The tensors are in bfloat16 whatever was asked for. Found in real code."""

    def __init__(self, config: LoRAConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        self.bfloat16()


class LoRADtypeIgnored(LoRA):
    """dtype="bfloat16" is accepted and the tensors stay in float32."""

    def __init__(self, config: LoRAConfig, layer: nn.Module, **more: Any) -> None:
        super().__init__(config, layer, **more)
        if config.dtype == "bfloat16":
            self.float()


class LoRABaseLeftTrainable(LoRA):
    """The base weight still trains. Found in real code."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        subject = attached(cls, layer, settings)
        subject.base.weight.requires_grad_(True)
        return subject


class LoRABiasLeftTrainable(LoRA):
    """Freezing stops at the weight: the base's bias still trains."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        subject = attached(cls, layer, settings)
        if subject.base.bias is not None:
            subject.base.bias.requires_grad_(True)
        return subject


class LoRABaseCastToFloat32(LoRA):
    """Attaching casts the base layer up to float32, and a half-precision model grows to twice its size."""

    @classmethod
    def build(cls, layer: nn.Linear, settings: Settings) -> Subject:
        subject = attached(cls, layer, settings)
        if subject.base.weight.itemsize == 2:
            subject.base.float()
        return subject
