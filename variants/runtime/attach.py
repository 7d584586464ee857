"""Put an adapter on a model and take it off again. A call that fails changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError

CHILD = "adapter"
STATE = "_attached_adapters"


@dataclass
class Attachment:
    """One adapter on a model: its name, its config and the layers it sits on, by their names in the model."""

    name: str
    variant: type[Adapter]
    config: AdapterConfig
    fingerprints: dict[str, str]
    layers: dict[str, Adapter]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The trainable parameters of this adapter, for an optimiser."""
        return (p for adapter in self.layers.values() for p in adapter.parameters() if p.requires_grad)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of this adapter under ``<layer>.<tensor>``, parameters and persistent buffers."""
        return {
            f"{layer}.{key}": t for layer, a in self.layers.items() for key, t in a.state_dict(keep_vars=True).items()
        }


@dataclass
class ModelState:
    """What a model with adapters remembers: whether each base parameter was trainable before an adapter froze it."""

    trainable: dict[str, bool] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)


def attachments(model: nn.Module) -> dict[str, Attachment]:
    """The adapters on this model by name; empty for a plain model."""
    state: ModelState | None = model.__dict__.get(STATE)
    return {} if state is None else state.attachments


def attach(
    model: nn.Module,
    config: AdapterConfig,
    *,
    name: str | None = None,
    variant: type[Adapter] | None = None,
) -> Attachment:
    """Put an adapter on every target of ``model``, freeze the base, and return the handle.

    Several adapters may sit on disjoint targets of one model; each needs a ``name`` of its own (the variant's by
    default). ``variant`` takes a class of your own in place of the registered one for this config. Random initial
    values come from torch's global generator.

    Raises ``AdapterError``: unknown config, no target, a target that already has an adapter, a name in use, weights
    that are not finite or not there (meta), or whatever the variant refuses. The model is then as it was.
    """
    if variant is None:
        from variants.registry import variant_for

        variant = variant_for(config)
    _refuse_other_config(variant, config)
    name = variant.name if name is None else name
    _refuse_taken_name(model, name)
    _refuse_foreign_state(model)
    targets = config.targets.find(model)
    for target, layer in targets.items():
        _refuse_unusable(target, layer)

    # Everything that can fail for the user's reasons fails here, before the model is touched.
    built = {target: _build(variant, config, target, layer) for target, layer in targets.items()}
    prints = {target: fingerprint(layer) for target, layer in targets.items()}

    state = model.__dict__.get(STATE) or ModelState()
    try:
        for target, adapter in built.items():
            targets[target].add_module(CHILD, adapter)
            adapter.hook(targets[target])
    except BaseException:
        _take_off(model, built.values())
        raise
    for key, parameter in _base_parameters(model).items():
        state.trainable.setdefault(key, parameter.requires_grad)
        parameter.requires_grad_(False)
    attachment = Attachment(name, variant, config, prints, built)
    state.attachments[name] = attachment
    model.__dict__[STATE] = state
    return attachment


def detach(model: nn.Module, name: str | None = None) -> None:
    """Take one adapter off, or all of them. The last one to go restores the model bit for bit, requires_grad included.

    A parameter that came to the model after the last ``attach`` keeps its requires_grad.
    """
    state: ModelState | None = model.__dict__.get(STATE)
    if state is None or (name is not None and name not in state.attachments):
        raise AdapterError(
            got=f"{name!r} to detach" if name else "a model without adapters",
            want="one of " + (", ".join(attachments(model)) or "none attached"),
            where="detach",
            fix="See attachments(model).",
        )
    for each in [name] if name is not None else list(state.attachments):
        _take_off(model, state.attachments.pop(each).layers.values())
    if not state.attachments:
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(state.trainable.get(key, parameter.requires_grad))
        del model.__dict__[STATE]


def fingerprint(layer: nn.Module) -> str:
    """SHA-256 of the weight's dtype, shape and bytes: which base an adapter belongs to."""
    weight: Tensor = layer.weight.detach().cpu().contiguous()  # type: ignore[operator]
    digest = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)} ".encode())
    digest.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    of_adapters = {id(p) for m in model.modules() if isinstance(m, Adapter) for p in m.parameters()}
    return {key: p for key, p in model.named_parameters() if id(p) not in of_adapters}


def _build(variant: type[Adapter], config: AdapterConfig, target: str, layer: nn.Module) -> Adapter:
    try:
        return variant(config, layer)
    except AdapterError as error:  # which knows the layer's shape, but not its name
        where = f"{error.where}, attach to {target}"
        raise AdapterError(got=error.got, want=error.want, where=where, fix=error.fix) from None


def _take_off(model: nn.Module, adapters: Iterable[Adapter]) -> None:
    """Found by identity, not by name: a target may have been wrapped, moved or replaced since."""
    gone = set()
    for adapter in adapters:
        adapter.unhook()
        gone.add(id(adapter))
    for module in list(model.modules()):
        if id(module._modules.get(CHILD)) in gone:
            del module._modules[CHILD]


def _refuse_other_config(variant: type[Adapter], config: AdapterConfig) -> None:
    if not isinstance(config, variant.Config):
        raise AdapterError(
            got=f"a {type(config).__name__}",
            want=f"a {variant.Config.__name__}",
            where=f"attach(variant={variant.__name__})",
            fix="Pass the config class of this variant.",
        )


def _refuse_taken_name(model: nn.Module, name: str) -> None:
    if name in attachments(model):
        raise AdapterError(
            got=f"a second adapter named {name!r}",
            want="a name that is not in use: " + ", ".join(attachments(model)),
            where="attach",
            fix="Pass another name=, or detach(model, name) first.",
        )


def _refuse_foreign_state(model: nn.Module) -> None:
    known = {id(a) for at in attachments(model).values() for a in at.layers.values()}
    foreign = [name for name, m in model.named_modules() if isinstance(m, Adapter) and id(m) not in known]
    if foreign:
        raise AdapterError(
            got=f"adapters attached through another module: {', '.join(foreign[:3])}",
            want="all adapters attached through the same module",
            where="attach",
            fix="Attach to the module you attached to before, or detach there first.",
        )


def _refuse_unusable(target: str, layer: nn.Module) -> None:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if hasattr(layer, CHILD):
        raise AdapterError(
            got="a layer that already has an adapter",
            want="each layer to have at most one",
            where=f"attach to {target}",
            fix="detach(model) first, or choose disjoint targets.",
        )
    if weight.is_meta or is_lazy(weight):
        raise AdapterError(
            got="a weight on the meta device" if weight.is_meta else "a lazy layer that has not seen its input yet",
            want="weights that are there",
            where=f"attach to {target}",
            fix="Load the model's weights first, or run a lazy model once.",
        )
    # isfinite does not know the 8-bit floats.
    values = weight.float() if weight.is_floating_point() and weight.itemsize == 1 else weight
    if values.is_floating_point() and not torch.isfinite(values).all():
        raise AdapterError(
            got="NaN or infinity in the weight",
            want="finite weights",
            where=f"attach to {target}",
            fix="Repair the base model; an adapter cannot mend it.",
        )
