"""What is remembered about the adapters on a model: the handles, and what the base was like before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import weight_of as weight_of
from variants.runtime.layers.report import Survey, text
from variants.runtime.layers.requantise import Stored
from variants.runtime.layers.wrapped import unwrapped

CHILD = "adapter"
STATE = "_attached_adapters"


@dataclass(repr=False)
class Attachment:
    """One adapter on a model: its name, its config and the layers it sits on, by their names in the model."""

    name: str
    variant: type[Adapter]
    config: AdapterConfig
    fingerprints: dict[str, str]
    layers: dict[str, Adapter]
    left: dict[str, str] = field(default_factory=dict)
    """Targets without an adapter, each with the reason: the model only reads them, or the method gave them rank 0."""
    notes: dict[str, str] = field(default_factory=dict)
    """What to know about layers that have an adapter."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Linear layers that are no target by default, with the reason."""
    kept: dict[str, nn.Module] = field(default_factory=dict)
    """Modules that are trained whole, by their names in the model."""
    before: dict[str, Tensor] = field(default_factory=dict)
    """What these modules held before ``attach``, by the keys of a file."""
    survey: Survey = field(default_factory=lambda: Survey(0, ()))
    merged: dict[str, tuple[Tensor | Stored, Tensor | None]] = field(default_factory=dict)
    """Weight and bias of each layer from before ``merge``; empty while the adapter is not merged."""
    rounding: dict[str, float] = field(default_factory=dict)
    """While merged, by quantised layer: |W'' - W'| / |W'| (Frobenius), W'' being what the new codes stand for."""

    def __repr__(self) -> str:
        return self.report

    @property
    def left_out(self) -> tuple[str, ...]:
        """The targets without an adapter."""
        return tuple(self.left)

    @property
    def report(self) -> str:
        """Which layers have an adapter, which do not and why, and how many numbers it trains, as text."""
        n = len(self.layers)
        title = f'adapter "{self.name}" (method {self.variant.name}) on {n} layer{"" if n == 1 else "s"}'
        kept = dict.fromkeys(self.kept, "trained whole and saved along")
        off = sorted(self.rounding.values())
        kept |= dict.fromkeys(self.rounding, f"quantised anew: off by {off[0]:.1%} to {off[-1]:.1%}" if off else "")
        trainable = sum(p.numel() for p in self.parameters())
        return text(title, self.layers, {**self.left, **self.skipped}, self.notes | kept, trainable, self.survey)

    def steer(self, coeff: float) -> None:
        """Set the steering coefficient of every layer; 0 is the base model. For the methods that have one."""
        for layer, adapter in self.layers.items():
            if not hasattr(adapter, "coeff"):
                raise AdapterError(
                    got=f"coeff={coeff} for {self.variant.name}",
                    want="a method with a steering coefficient",
                    where=f"steer at {layer}",
                    fix="Use one of the antipasto variants.",
                )
        self.config.require_finite("coeff", coeff)
        if self.merged:
            raise AdapterError(
                got="an adapter that is merged",
                want="one at work: a merged one computes nothing",
                where=f"steer({coeff})",
                fix="Call unmerge first.",
            )
        for adapter in self.layers.values():
            adapter.coeff = float(coeff)  # type: ignore[assignment]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The trainable parameters of this adapter and of the modules it trains whole, for an optimiser."""
        modules = (*self.layers.values(), *self.kept.values())
        return (p for module in modules for p in module.parameters() if p.requires_grad)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of this adapter under ``<layer>.<tensor>``: parameters, persistent buffers, kept ones."""
        return {
            f"{layer}.{key}": tensor
            for layer, adapter in self.layers.items()
            for key, tensor in {**adapter.state_dict(keep_vars=True), **adapter.file_tensors}.items()
        }


@dataclass
class ModelState:
    """What a model with adapters remembers.

    ``trainable``: whether each base parameter was, before an adapter froze it. ``held``: the layers that are kept from
    being repacked (``variants.runtime.layers.packing``).
    """

    trainable: dict[str, bool] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    held: list[nn.Module] = field(default_factory=list)


def attachments(model: nn.Module) -> dict[str, Attachment]:
    """The adapters on this model by name; empty for a plain model."""
    if not isinstance(model, nn.Module):
        raise AdapterError(
            got=f"a {type(model).__name__}", want="an nn.Module", where="model", fix="Pass the model itself."
        )
    state: ModelState | None = unwrapped(model).__dict__.get(STATE)
    return {} if state is None else state.attachments


def chosen(model: nn.Module, name: str | None, *, where: str) -> Attachment:
    """The adapter of this name; the only one, if no name is given."""
    there = attachments(model)
    if name is None and len(there) == 1:
        return next(iter(there.values()))
    if name is None and there:
        names = ", ".join(map(repr, there))
        raise AdapterError(got=f"the model has {len(there)} adapters: {names}", where=where, fix="Say which: name=.")
    require_adapter(model, name, where=where)
    return there[str(name)]


def require_adapter(model: nn.Module, name: str | None, *, where: str) -> None:
    """``AdapterError`` for a model without adapters, or without one of this name."""
    there = attachments(model)
    if not there:
        fix = "Call attach(model, config) first."
        raise AdapterError(got="this model has no adapter", where=where, fix=fix)
    if name is not None and not (isinstance(name, str) and name in there):
        names = ", ".join(map(repr, there))
        raise AdapterError(got=repr(name), want=f"one of {names}", where=where, fix="Pass the name of an adapter.")
