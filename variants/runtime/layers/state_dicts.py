"""What ``state_dict`` of an adapted model says: the base as it was before, and the adapter beside it.

A method that replaces the weight keeps W_res in ``<layer>.weight``. Written so, the file would be taken for the base.
So while such an adapter is on, ``state_dict()`` gives

    <layer>.weight          W, as before ``attach``
    <layer>.adapter.W_res   what is in the layer now
    <layer>.adapter.<name>  the adapter's tensors

and ``load_state_dict`` of an adapted model takes all of it back bit for bit. A dictionary of the base alone, without
a tensor of the adapter, is taken for the base: W_res is formed anew. While an adapter is merged, ``state_dict`` has
the merged weights under the keys of the base, and nothing else.

``torch.func.functional_call`` wants what is in the modules: pass it parameters and buffers, not ``state_dict()``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from variants.runtime.adapter import Adapter
from variants.runtime.layers.kinds import is_conv1d, weight_of

CHILD = "adapter"
RESIDUAL = "W_res"


def watch(layer: Any, adapter: Adapter) -> None:
    """Let the state dictionary of ``layer``, which has this adapter, tell of the base."""
    adapter.watches += [
        layer.register_state_dict_post_hook(_written),
        layer.register_load_state_dict_pre_hook(_reading),
        layer.register_load_state_dict_post_hook(_read),
    ]


def unwatch(adapter: Adapter) -> None:
    """Undo ``watch``."""
    while adapter.watches:
        adapter.watches.pop().remove()


def _written(layer: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    adapter = layer._modules.get(CHILD)
    key, own = f"{prefix}weight", f"{prefix}{CHILD}."
    if not isinstance(adapter, Adapter):
        return
    if adapter.merged:
        for each in [each for each in state if each.startswith(own)]:
            del state[each]
    elif adapter.original is not None and key in state:
        state[own + RESIDUAL] = state[key]
        state[key] = _turned(layer, adapter.original).to(state[key])


def _reading(layer: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *_: Any) -> None:
    adapter = layer._modules.get(CHILD)
    key, own = f"{prefix}weight", f"{prefix}{CHILD}."
    if not isinstance(adapter, Adapter):
        return
    residual, W = state.pop(own + RESIDUAL, None), state.get(key)
    if adapter.original is None or adapter.merged or W is None:
        return
    if residual is not None:
        state[key] = residual
        if W.shape == _turned(layer, adapter.original).shape:
            adapter.original = _turned(layer, W.detach()).to(adapter.original, copy=True)
    elif not any(each.startswith(own) for each in state):
        adapter.base_comes = "assigned" if metadata.get("assign_to_params_buffers") else "copied"


def _read(layer: nn.Module, incompatible: Any) -> None:
    adapter = layer._modules.get(CHILD)
    if not isinstance(adapter, Adapter) or not adapter.base_comes:
        return
    how, adapter.base_comes = adapter.base_comes, ""
    W = weight_of(layer).detach()
    adapter.original = W.clone()
    residual = adapter.residual(adapter.original)
    assert residual is not None
    if how == "assigned":  # the layer's memory is now the dictionary's, which is not to be written to
        layer.weight = nn.Parameter(_turned(layer, residual).contiguous(), requires_grad=False)
        return
    with torch.no_grad():
        weight_of(layer).copy_(residual)


def _turned(layer: nn.Module, W: Tensor) -> Tensor:
    """From ``(d_out, d_in)`` to how the layer stores it, or back."""
    return W.t() if is_conv1d(layer) else W
