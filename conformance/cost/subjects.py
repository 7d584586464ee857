"""The sides of a comparison at a point: the bare layer, a variant on it, peft's same tuner on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from conformance.cost.points import Point
from conformance.nouns.entry import Entry
from refs.reference import Live, Options
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Host, Subject

LAYER_OF = {"eva": "lora"}
"""In peft the layer is that of another method once it has started; the start needs more rows than the probes have."""

FITTED = {"antipasto_arrow": ("block", 8)}
"""Options whose default must stay below the rank: half the rank is taken where that is less."""

MOVE = 0.01
"""How far the trainable tensors are moved from their start. No time may depend on zeros."""


@dataclass(frozen=True)
class Contender:
    """An entry with one set of options, under a name of its own."""

    name: str
    entry: Entry
    options: Options = ()

    def settings(self, point: Point) -> Settings:
        """What both sides are asked for. A method that starts from data gets the inputs that its reference is given."""
        main = () if self.entry.method is None else self.entry.method.main.options
        needed = main if dict(main).get("calibration") else ()
        option, most = FITTED.get(self.entry.name, ("", 0))
        fitted = {option: min(most, point.r // 2)} if option else {}
        options = {**fitted, **dict(needed), **dict(self.options)}
        return Settings(r=point.r, alpha=2.0 * point.r, options=tuple(sorted(options.items())))


@cache
def _weight(d: int) -> Tensor:
    """``(d, d)``: a spectrum that falls, as that of a trained weight does."""
    generator = torch.Generator().manual_seed(d)
    return torch.randn(d, d, generator=generator) * torch.arange(1, d + 1).float().rsqrt()


def layer_at(point: Point) -> nn.Linear:
    """A fresh, frozen copy of the point's base layer."""
    layer = nn.Linear(point.d, point.d, dtype=getattr(torch, point.dtype))
    with torch.no_grad():
        layer.weight.copy_(_weight(point.d))
        layer.bias.fill_(0.5)
    return layer.requires_grad_(False)


def input_at(point: Point) -> Tensor:
    """``(tokens, d)``; a leaf that asks for its gradient, as the output of the layer below would."""
    generator = torch.Generator().manual_seed(point.tokens)
    x = torch.randn(point.tokens, point.d, generator=generator).to(getattr(torch, point.dtype))
    return x.requires_grad_(True)


def bare(point: Point) -> Subject:
    """The frozen layer alone."""
    layer = layer_at(point)
    return Subject(Host(layer), layer)


def variant(contender: Contender, point: Point) -> Subject:
    """The audited side, moved from its start, in training mode."""
    return _moved(contender.entry.build(layer_at(point), contender.settings(point)))


def merged(contender: Contender, point: Point) -> Subject | None:
    """The audited side as part of the layer's weight; None for an entry that cannot be merged."""
    life = contender.entry.lifecycle
    if life is None or life.merge is None:
        return None
    subject = variant(contender, point)
    life.merge(subject)
    return subject


def peft_reference(contender: Contender) -> Live | None:
    """The main reference, if it is a layer of peft."""
    method = contender.entry.method
    if method is not None and method.name in LAYER_OF:
        method = next(m for m in METHODS if m.name == LAYER_OF[method.name])
    main = None if method is None else method.main
    return main if isinstance(main, Live) and main.package == "peft" else None


def peft(contender: Contender, point: Point) -> Subject | None:
    """peft's same tuner, likewise; None for a method, or options, that peft lacks."""
    reference = peft_reference(contender)
    settings = contender.settings(point)
    if reference is None or not reference.covers(settings):
        return None
    return _moved(reference.build(layer_at(point), settings))


def on(subject: Subject, device: str) -> Subject:
    """The subject on a device, in place."""
    subject.host.to(device)
    return subject


def _moved(subject: Subject) -> Subject:
    subject.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for leaf in subject.leaves().values():
            leaf.add_(MOVE * torch.randn(leaf.shape, generator=generator).to(leaf.dtype))
    return subject


def contenders(entries: tuple[Entry, ...]) -> tuple[Contender, ...]:
    """One per entry, with its default options."""
    return tuple(Contender(entry.name, entry) for entry in entries)


def rotations(entries: tuple[Entry, ...]) -> tuple[Contender, ...]:
    """AntiPaSTO without and with a rotated basis, by size of the rotated blocks."""
    named = {entry.name: entry for entry in entries}
    if not {"antipasto", "antipasto_rot"} <= named.keys():
        return ()
    rotated = Contender("antipasto_rot", named["antipasto_rot"])
    sized = (replace(rotated, name=f"antipasto_rot, blocks of {n}", options=(("block_size", n),)) for n in (2, 4))
    return (Contender("antipasto", named["antipasto"]), *sized)
