"""What is wrong with an entry, before a case is asked: build once, call once, map once. One message for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from conformance.foreign.entry import wanted
from conformance.foreign.mapping import tensors_of
from conformance.measuring.compare import without_addresses
from conformance.measuring.trial import frame_of
from conformance.nouns.entry import Entry
from conformance.nouns.promises import Float64
from conformance.planning.names import BadRequest, did_you_mean
from refs.reference import Method, Options
from refs.settings import Settings
from refs.subject import Subject


def preflight(entries: Sequence[Entry]) -> None:
    """BadRequest that lists what is wrong with the entries themselves; nothing has been asked of the code by then."""
    found = [f"{entry.name}: {problem}" for entry in entries for problem in problems(entry)]
    if found:
        told = "\n  ".join(found)
        raise BadRequest(
            f"the entry, not the code under audit, is wrong:\n  {told}\n"
            "No case was asked. docs/your-own-code.md says how an entry is written."
        )


def problems(entry: Entry) -> Iterator[str]:
    """What is wrong, a line each."""
    method = entry.method
    if method is None:
        return
    if not method.references:
        yield f"the method {method.name!r} has no reference, want one: a name of this suite, or formula, live, recorded"
        return
    layer = nn.Linear(12, 20)
    weight = layer.weight.detach().clone()
    ranks = entry.promises.input_ranks
    shape = {1: (12,), 2: (5, 12), 3: (1, 5, 12)}.get(min(ranks), (1, 1, 5, 12)) if ranks else (5, 12)
    x = torch.linspace(-1, 1, 60).reshape(-1, 12)[: prod(shape[:-1])].reshape(shape)
    want = (*shape[:-1], 20)
    options = method.options
    if told := _of_the_formula(method, Settings(r=4, alpha=6.0, options=options)):
        yield told
        return
    try:
        subject = entry.build(layer, Settings(r=4, alpha=6.0, options=options))
    except BadRequest as error:
        yield str(error)
        return
    except Exception as error:
        yield f"build raised {_told(error)} on nn.Linear(12, 20) with r=4, alpha=6; want an adapted layer"
        return
    try:
        y = subject(x)
    except Exception as error:
        yield f"a call raised {_told(error)} for x of shape {shape} in float32; want an output of shape {want}"
    else:
        if not isinstance(y, Tensor) or tuple(y.shape) != want:
            got = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            yield f"a call gave {got} for x of shape {shape}; want a tensor of shape {want}"
    yield from _of_the_base(entry, subject, weight)
    yield from _of_the_names(entry, subject)
    yield from _of_another_layer(entry, options)


def _of_another_layer(entry: Entry, options: Options) -> Iterator[str]:
    """What a square layer, a rank as large or float64 show: a copy that loses digits, a place that is not clear."""
    if entry.promises.float64 is Float64.REFUSED:
        return
    try:
        entry.build(nn.Linear(16, 16, dtype=torch.float64), Settings(r=16, alpha=6.0, options=options))
    except BadRequest as error:
        yield f"on nn.Linear(16, 16) in float64 with r=16: {error}"
    except Exception:
        return  # a finding, not a mistake of the entry


def _of_the_formula(method: Method, settings: Settings) -> str:
    """What is wrong with a formula that stands alone: asked once, at its own start."""
    form = method.closed
    if method.built or form is None or form.draw is None:
        return ""
    W = nn.Linear(12, 20).weight.detach().double().numpy()
    try:
        tensors = form.draw(np.random.default_rng(0), W, settings)
        form.effective(tensors, W, W[:, 0], settings)
        if form.pullback is not None:
            form.pullback(tensors, W, W[:, 0], settings, W, W[:, 0])
    except Exception as error:
        return f"the formula raised {_told(error)} for r=4, alpha=6 and W of shape 20x12; want W' and b'"
    return ""


def _of_the_base(entry: Entry, subject: Subject, weight: Tensor) -> Iterator[str]:
    base = getattr(subject.base, "weight", None)
    if not isinstance(base, Tensor) or base.shape != weight.shape:
        yield f"`base` has no weight of shape 20x12 ({type(subject.base).__name__}); want the layer underneath"
        return
    replaced = entry.method is not None and entry.method.replaces_weight
    if not replaced and not torch.equal(base.detach(), weight):
        yield "the weight in the layer underneath is not that of the layer given to it; copy weight and bias into it"
    if id(base) not in {id(p) for p in subject.host.parameters()}:
        yield "the layer underneath is no part of the host, so that a cast or a copy of the host would miss it"


def _of_the_names(entry: Entry, subject: Subject) -> Iterator[str]:
    assert entry.method is not None
    slots, paths = subject.slots(), list(tensors_of(subject.host, subject.base))
    want = wanted(entry.method)
    for name, (path, _) in subject.names.items():
        if name not in slots:
            near = did_you_mean(path, paths)
            yield f"names: got {path!r} for {name}, want one of {', '.join(paths)}. {near}".rstrip()
        elif name not in want and want:
            yield f"names: got {name!r}, which {entry.method.name} does not have; want {', '.join(want)}"
        elif want and slots[name].value.shape != want[name].value.shape:
            shapes = ["x".join(map(str, s.value.shape)) for s in (slots[name], want[name])]
            yield f"names: got {path!r} of shape {shapes[0]} for {name}, want {shapes[1]} under its view"
    for name in want:
        if name not in subject.names:
            yield f"names: got nothing for {name}, want its path among {', '.join(paths) or 'none'}"
    yield from _round_trip(subject, want.keys() & slots.keys() & subject.names.keys())


def _round_trip(subject: Subject, names: set[str]) -> Iterator[str]:
    before = subject.values()
    for name in sorted(names):
        value = before[name] + 0.25
        try:
            subject.load({name: value})
        except Exception as error:
            yield f"names: writing {name} raised {_told(error)}; its view does not fit"
            continue
        if not torch.allclose(subject.values()[name], value):
            yield f"names: what is written as {name} is not what is read: its view's `write` must undo `read`"
        subject.load({name: before[name]})


def _told(error: Exception) -> str:
    return without_addresses(f"{type(error).__name__}: {error}").split("\n")[0] + frame_of(error)
