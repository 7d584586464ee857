"""What an adapter cannot be put on, said before anything is touched."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import sizes_of
from variants.runtime.layers.numbers import is_misread
from variants.runtime.layers.packing import codes_of, is_misordered
from variants.runtime.layers.sharded import FIRST, refuse_sharded
from variants.runtime.layers.stacks import Stack
from variants.runtime.numerics.finite import all_finite
from variants.runtime.state import CHILD, attachments, weight_of


def find_free_targets(model: nn.Module, config: AdapterConfig, name: str) -> dict[str, nn.Module]:
    """The targets by name, each able to take an adapter; ``AdapterError`` if the name or a target cannot be had."""
    _refuse_taken_name(model, name)
    _refuse_foreign_state(model)
    _refuse_inference(model)
    targets = config.targets.find(model)
    for target, layer in targets.items():
        _refuse_unusable(target, layer)
    return targets


def refuse_other_variant(variant: object, where: str) -> None:
    """A variant is a class, not its name."""
    if not (isinstance(variant, type) and issubclass(variant, Adapter)):
        raise AdapterError(
            got=repr(variant), want="a subclass of Adapter", where=where, fix="Pass the class, such as by_name('lora')."
        )


def refuse_other_config(variant: type[Adapter], config: AdapterConfig) -> None:
    """Each variant takes its own config."""
    refuse_other_variant(variant, "attach(variant=)")
    if not isinstance(config, variant.Config):
        raise AdapterError(
            got=f"a {type(config).__name__}",
            want=f"a {variant.Config.__name__}",
            where=f"attach(variant={variant.__name__})",
            fix="Pass the config class of this variant.",
        )


def refuse_tied(
    model: nn.Module, target: str, layer: nn.Module, doing: str = "attach to", part: str = "weight"
) -> None:
    """Replacing a shared weight would change the other module too; replacing a computed one would change nothing."""
    if isinstance(layer, Stack):
        part, layer = layer.parameter, layer.owner
    tensor: Tensor = getattr(layer, part)
    sharers = [
        name
        for name, module in model.named_modules()
        if module is not layer and any(_overlap(t, tensor) for t in _own_tensors(module))
    ]
    got = ""
    if sharers:
        got = f"a {part} that is tied to {', '.join(sharers)}"
    elif layer._parameters.get(part) is not tensor:
        got = f"a {part} that is computed from other tensors (parametrized or normalised)"
    elif any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride())):
        got = f"a {part} whose entries share memory (expanded)"
    if got:
        raise AdapterError(
            got=got,
            want=f"a {part} of its own, since it is replaced",
            where=f"{doing} {target}",
            fix=f"Leave it out with Targets(exclude=({target!r},)), or choose a method that leaves the {part} alone.",
        )


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether writing to one may write to the other. Strangers among tensor classes need not have an address."""
    if a is b:
        return True
    if not {type(a), type(b)} <= {Tensor, nn.Parameter} or a.device != b.device or a.is_meta or a.is_sparse:
        return False
    (start, end), (first, last) = _extent(a), _extent(b)
    return max(start, first) < min(end, last)


def _extent(t: Tensor) -> tuple[int, int]:
    """The addresses between which the entries of ``t`` lie."""
    entries = 1 + sum((n - 1) * step for n, step in zip(t.shape, t.stride())) if t.numel() else 0
    return t.data_ptr(), t.data_ptr() + entries * t.itemsize


def _refuse_taken_name(model: nn.Module, name: str) -> None:
    if not isinstance(name, str) or not name:
        raise AdapterError(got=repr(name), want="a non-empty string", where="attach(name=)", fix="Pass another name=.")
    if name in attachments(model):
        raise AdapterError(
            got=f"this model already has an adapter named {name!r}",
            where="attach",
            fix=f"Call detach(model, {name!r}) first, or pass another name=.",
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


def _refuse_inference(model: nn.Module) -> None:
    """Their requires_grad could be taken away and never given back, and nothing trains through them."""
    if made := [name for name, p in model.named_parameters() if not is_lazy(p) and p.is_inference()]:
        raise AdapterError(
            got=f"parameters made under torch.inference_mode: {', '.join(made[:3])}",
            want="ordinary ones, which autograd can work with",
            where="attach",
            fix="Build or load the model outside of torch.inference_mode; run it there as you like.",
        )


def _refuse_unusable(target: str, layer: nn.Module) -> None:
    weight = weight_of(layer)
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
    refuse_sharded(weight, f"attach to {target}", FIRST)
    if weight.is_complex():
        raise AdapterError(
            got=f"a {weight.dtype} weight",
            want="a real one: the methods would drop the imaginary part",
            where=f"attach to {target}",
            fix="Leave this layer out with Targets(exclude=...).",
        )
    if is_misordered(layer):
        raise AdapterError(
            got="a 4-bit weight whose scales lie in the order of another packing, which makes it another weight",
            want="scales in the order of the codes",
            where=f"attach to {target}",
            fix="Load the base anew, or put them back: state = layer.weight.quant_state; state.absmax = "
            "state.absmax.T.reshape(-1).float(). bitsandbytes leaves them so where state_dict() is called after an "
            "evaluation on a CPU with AVX512-BF16; attach first, or save first.",
        )
    if is_misread(layer):
        raise AdapterError(
            got=f"a 4-bit weight with rows of {sizes_of(layer)[0]} numbers, for which bitsandbytes' CPU kernel takes "
            "wrong scales: the bare layer is wrong already",
            want="rows that are a whole number of blocks, or a kernel that reads them right",
            where=f"attach to {target}",
            fix="Leave this layer out of quantisation, or leave it out here with Targets(exclude=...).",
        )
    quantised = codes_of(layer)
    if not all_finite(weight if quantised is None else quantised.scales):
        raise AdapterError(
            got="NaN or infinity in the weight",
            want="finite weights",
            where=f"attach to {target}",
            fix="Repair the base model; an adapter cannot repair it.",
        )
