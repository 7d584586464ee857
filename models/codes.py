"""A model whose layers bitsandbytes quantised: the adapter's whole life on codes, with the error that merging costs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from models.life import START_OFF, Life, equal, near, require
from models.zoo import Kind
from variants import Targets, load, merge, save, unmerge
from variants.runtime.layers.kinds import sizes_of, weight_of
from variants.runtime.layers.numbers import is_quantised, numbers_of
from variants.runtime.layers.reads import read_in

WIDE = 8
"""So many times as wide as in the other steps: every row is then a whole number of bitsandbytes' blocks of 64."""
START = 1e-4
"""How far two outputs in float32 may be apart that are equal but for rounding."""
ROUGH = {"nf4": START, "int8": 0.05}
"""How far a layer's outputs are from those of its weights as numbers: bitsandbytes rounds inputs to 8 bits, too."""
COSTS = {"nf4": 0.13, "int8": 0.02}
"""What quantising W' anew may cost: |W'' - W'| / |W'|."""


def on_codes(life: Life, codes: str) -> None:
    """It starts at the base, trains, leaves the codes alone, is saved and loaded, merges within ``COSTS``, unmerges."""
    base = quantised(life.kind, codes)
    wide = Life(life.kind, base, life.variant, life.folder, "float32")
    model, attachment = wide.attached()
    codes_at = [name for name in attachment.layers if is_quantised(model.get_submodule(name))]
    require(bool(codes_at), "no layer is quantised")
    start = out(wide, model)
    near(start, out(wide, base), "the start is not the base", START_OFF.get(life.variant, START))
    before = {name: numbers_of(model.get_submodule(name)) for name in attachment.layers}
    wide.stepped(model, attachment)
    require(all(p.grad is not None for p in attachment.parameters()), "a tensor gets no gradient")
    for name, W in before.items():
        equal(numbers_of(model.get_submodule(name)), W, "the codes have changed")
    want = out(wide, model)
    require(bool((want - start).abs().max() > START), "training changes nothing")
    path = life.folder / f"on-{codes}.safetensors"
    save(model, path)
    fresh = copy.deepcopy(base)
    load(fresh, path)
    equal(out(wide, fresh), want, "a loaded adapter computes something else")
    exact = {name: adapter.fold(model.get_submodule(name)) for name, adapter in attachment.layers.items()}
    for name, (x, y) in _seen(wide, model, exact).items():  # layer by layer: through a model, rounding grows
        near(_plain(*exact[name])(x).detach(), y, "W' computes something else", ROUGH[codes])
    merge(model)
    for name in codes_at:
        W, _ = exact[name]
        off = float((numbers_of(model.get_submodule(name)).double() - W).norm() / W.norm())
        require(off <= COSTS[codes], f"merging costs {off:.0%} of the weight")
        require(abs(off - attachment.rounding[name]) <= START, "the report names another error than merging has")
    unmerge(model)
    equal(out(wide, model), want, "unmerge gives something else")


def _seen(life: Life, model: nn.Module, names: Iterable[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """What each layer is called with in the model, and what it gives, the adapter's part included."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def before(name: str) -> Callable[..., None]:
        return lambda _, given: inputs.__setitem__(name, given[0].detach())

    def after(name: str) -> Callable[..., None]:
        return lambda _, given, made: outputs.__setitem__(name, made.detach())

    hooks = []
    for name in names:
        layer = model.get_submodule(name)
        hooks += [layer.register_forward_pre_hook(before(name), prepend=True), layer.register_forward_hook(after(name))]
    out(life, model)
    for hook in hooks:
        hook.remove()
    return {name: (inputs[name], outputs[name]) for name in outputs}


def out(life: Life, model: nn.Module) -> Tensor:
    """Logits. With gradients on, bitsandbytes repacks no layer, whatever the CPU."""
    found: Tensor = model(**life.batch).logits
    return found.detach()


@cache
def quantised(kind: Kind, codes: str) -> nn.Module:
    """The model in float32, with codes in place of what ``attach`` would take and transformers does not keep."""
    model: Any = kind.made(WIDE, torch.float32)
    kept = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    targets = Targets(exclude=(*kept, *([kind.head] if kind.head else []))).find(model)
    batch = {key: t.float() if t.is_floating_point() else t for key, t in kind.batch.items()}
    for name in targets.keys() - read_in(model, targets, batch).keys():
        model.set_submodule(name, _layer(targets[name], codes))
    setattr(model, "is_loaded_in_8bit" if codes == "int8" else "is_loaded_in_4bit", True)
    made: nn.Module = model.eval()
    return made


def _plain(W: Tensor, b: Tensor | None) -> nn.Linear:
    made = nn.Linear(W.shape[1], W.shape[0], bias=b is not None)
    made.load_state_dict({"weight": W} if b is None else {"weight": W, "bias": b})
    return made


def _layer(layer: nn.Module, codes: str) -> nn.Module:
    import bitsandbytes

    d_in, d_out = sizes_of(layer)
    bias: Any = layer.bias
    made: Any
    if codes == "int8":
        made = bitsandbytes.nn.Linear8bitLt(d_in, d_out, bias is not None, has_fp16_weights=False)
    else:
        plain: dict[str, Any] = {"compute_dtype": torch.float32, "compress_statistics": False}
        made = bitsandbytes.nn.Linear4bit(d_in, d_out, bias is not None, quant_type=codes, **plain)
    state = {"weight": weight_of(layer).detach().contiguous()}
    made.load_state_dict(state if bias is None else {**state, "bias": bias.detach()})
    quantised_layer: nn.Module = made.to("cpu").requires_grad_(False)  # this is when the weight is quantised
    return quantised_layer
