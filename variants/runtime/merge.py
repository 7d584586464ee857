"""Fold an adapter into the weights it sits on, and take it out again. A call that fails changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError
from variants.runtime.layers.numbers import is_quantised
from variants.runtime.layers.packing import is_repacked
from variants.runtime.layers.requantise import Stored, layer_dtype, put_back, requantised, stored
from variants.runtime.layers.sharded import refuse_sharded
from variants.runtime.layers.stacks import Stack
from variants.runtime.layers.wrapped import forget_compiled, refuse_wrapped
from variants.runtime.refuse import refuse_tied
from variants.runtime.state import CHILD, Attachment, chosen, weight_of

NEAR = 8
"""Roundings by which a linear layer's output may be off, relative to |W| |x| + |b|."""


def merge(model: nn.Module, name: str | None = None) -> None:
    """Make one adapter part of its layers' weights and biases: the same outputs, at the bare layers' price.

        W', b' of y' = W' x + b'        W': (d_out, d_in), b': (d_out,)

    computed in float64 from the stored tensors as in eval mode, then rounded once to the layer's dtype. The adapter
    stays on the model, switched off, until ``unmerge``; saving and detaching it work as before. The only adapter is
    taken if no ``name`` is given.

    A layer that bitsandbytes quantised stays so: W' is quantised anew, in the layer's format. What that costs is far
    more than rounding (``layers.requantise``; about a tenth of |W'| in 4 bits, which can be more than the adapter
    changed): ``Attachment.rounding`` and the report say it for each layer. Left unmerged, nothing is lost.

    Raises ``AdapterError``: unknown name, merged already, a weight that is no plain floating-point matrix (or codes of
    bitsandbytes) or is shared with another module, a layer that does more than its weight and bias, values too large
    for the layer's dtype.
    """
    refuse_wrapped(model, "merge")
    attachment = chosen(model, name, where="merge")
    if attachment.merged:
        raise _refused(attachment, "an adapter that is merged already", "one that is not", "Call unmerge first.")
    layers = layers_of(model, attachment)
    folded: dict[str, tuple[Tensor | Stored, Tensor]] = {}
    rounding: dict[str, float] = {}
    for target, adapter in attachment.layers.items():
        refuse_sharded(layers[target].weight, f"merge at {target}")
        refuse_tied(model, target, layers[target], "merge at")
        if getattr(layers[target], "bias", None) is not None:
            refuse_tied(model, target, layers[target], "merge at", "bias")
        whole, b = _folded(attachment, target, layers[target], adapter)
        folded[target] = whole, b
        if is_quantised(layers[target]):
            codes, rounding[target] = requantised(layers[target], whole)
            folded[target] = codes, b
    attachment.rounding = rounding
    for target, adapter in attachment.layers.items():
        layer, (W, b) = layers[target], folded[target]
        bias: Tensor | None = getattr(layer, "bias", None)
        attachment.merged[target] = (
            stored(layer) if isinstance(W, Stored) else weight_of(layer).detach().clone(),
            None if bias is None else bias.detach().clone(),
        )
        adapter.unhook()
        adapter.merged = True
        with torch.no_grad():
            _write(layer, W)
            if bias is not None:
                bias.copy_(b)


def unmerge(model: nn.Module, name: str | None = None) -> None:
    """Undo ``merge``: the layers' weights (codes and scales) and biases bit for bit as before, the adapter at work.

    Raises ``AdapterError``: unknown name, or an adapter that is not merged.
    """
    refuse_wrapped(model, "unmerge")
    attachment = chosen(model, name, where="unmerge")
    if not attachment.merged:
        raise _refused(attachment, "an adapter that is not merged", "a merged one", "Call merge first.", "unmerge")
    take_out(model, attachment)


def take_out(model: nn.Module, attachment: Attachment) -> None:
    """What ``unmerge`` does, for an adapter of which some layers may not be merged yet."""
    merged = list(attachment.merged)
    restore(model, attachment)
    layers = layers_of(model, attachment)
    for target in merged:
        attachment.layers[target].unhook()
        attachment.layers[target].hook(layers[target])
    forget_compiled(model)


def restore(model: nn.Module, attachment: Attachment) -> None:
    """Put the weights and biases from before ``merge`` back."""
    layers = layers_of(model, attachment) if attachment.merged else {}
    for target, (W, b) in attachment.merged.items():
        layer = layers[target]
        with torch.no_grad():
            _write(layer, W)
            if b is not None:
                layer.bias.copy_(b)  # type: ignore[operator]
        attachment.layers[target].merged = False
    attachment.merged.clear()
    attachment.rounding.clear()


def _write(layer: nn.Module, W: Tensor | Stored) -> None:
    if isinstance(W, Stored):
        put_back(layer, W)
    else:
        weight_of(layer).copy_(W)


def layers_of(model: nn.Module, attachment: Attachment) -> dict[str, nn.Module]:
    """Found by identity, not by name: a target may have been wrapped or moved since."""
    names = {id(adapter): target for target, adapter in attachment.layers.items()}
    found = {names[id(m._modules.get(CHILD))]: m for m in model.modules() if id(m._modules.get(CHILD)) in names}
    if missing := sorted(set(attachment.layers) - set(found)):
        raise _refused(
            attachment,
            f"a model without the adapter at {missing[0]}",
            "the model it was attached to",
            "Attach or load it again.",
        )
    return found


def _folded(attachment: Attachment, target: str, layer: nn.Module, adapter: Adapter) -> tuple[Tensor, Tensor]:
    weight, quantised = weight_of(layer), is_quantised(layer)
    where = f"merge at {target}"
    stacked = isinstance(layer, Stack)
    plain = weight.is_floating_point() and weight.itemsize > 1 and weight.shape[-2:] == (adapter.d_out, adapter.d_in)
    if not plain and not quantised:
        raise AdapterError(
            got=f"{type(layer).__name__} with a {weight.dtype} weight of shape {tuple(weight.shape)}",
            want=f"a plain floating-point weight of shape {(adapter.d_out, adapter.d_in)}, or codes of bitsandbytes",
            where=where,
            fix="Merge into the model before it is quantised, or leave the adapter unmerged.",
        )
    if is_repacked(layer):
        raise AdapterError(
            got="a 4-bit layer that bitsandbytes has repacked since the adapter came",
            want="the plain packing, in which an adapter holds its layers",
            where=where,
            fix="Save the adapter, detach it, and load it again.",
        )
    own = type(layer).forward.__module__.startswith("bitsandbytes.")  # known to be linear, up to its rounding
    if not stacked and not (own if quantised else _is_linear(layer, weight)):
        raise AdapterError(
            got=f"{type(layer).__name__}, whose own output is not weight x + bias",
            want="a layer that is its weight and bias, for the adapter to become part of them",
            where=where,
            fix="Leave the adapter unmerged.",
        )
    W, b = adapter.fold(layer)
    dtype = layer_dtype(layer) if quantised else weight.dtype
    if not bool(W.to(dtype).isfinite().all() and b.to(dtype).isfinite().all()):
        raise AdapterError(
            got=f"merged values up to {float(W.abs().max()):.3g}",
            want=f"finite numbers in {dtype}",
            where=where,
            fix="Look at the adapter's tensors, or keep the base in a wider dtype.",
        )
    return W, b


def _is_linear(layer: nn.Module, weight: Tensor) -> bool:
    """At one input and at zero, past the hooks, as exactly as the layer's dtype allows."""
    bias: Tensor | None = getattr(layer, "bias", None)
    x = torch.linspace(-1, 1, weight.shape[1], device=weight.device).to(weight.dtype)
    rows = torch.stack([torch.zeros_like(x), x])
    with torch.no_grad():
        given = layer.forward(rows).double()
        X, W, b = rows.double(), weight.double(), torch.zeros(()) if bias is None else bias.double()
        kind = torch.finfo(weight.dtype)
        # A residual of almost nothing, in float16, is below the smallest normal number: its spacing shrinks no more.
        size = X.abs() @ W.abs().T + b.abs() + kind.smallest_normal
        return bool(((given - (X @ W.T + b)).abs() <= NEAR * kind.eps * size).all())


def _refused(attachment: Attachment, got: str, want: str, fix: str, where: str = "merge") -> AdapterError:
    return AdapterError(got=got, want=want, where=f"{where} {attachment.name!r}", fix=fix)
