"""The variants of this repository as audit entries, one row each."""

from __future__ import annotations

from torch import nn

from conformance.entry import Entry
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from variants import Targets, attach
from variants.registry import by_name
from variants.runtime.adapter import Adapter

ON_THE_LAYER = Targets(include=("layer",))


def attached(variant: type[Adapter], layer: nn.Linear, settings: Settings) -> Subject:
    """A variant of this repository as a subject: a real ``attach`` to a model of one layer."""
    options = {**dict(settings.options), **({} if settings.dtype is None else {"dtype": settings.dtype})}
    fields = variant.Config.__dataclass_fields__
    options.update({key: value for key, value in (("r", settings.r), ("alpha", settings.alpha)) if key in fields})
    config = variant.Config(targets=ON_THE_LAYER, **options)
    host = Host(layer)
    attach(host, config, variant=variant)
    listed = variant.specs(config, layer.in_features, layer.out_features)
    return Subject(host, layer, {name: (f"layer.adapter.{name}", AS_IS) for name in listed})


def entry_for(variant: type[Adapter], *, like: Entry | None = None) -> Entry:
    """An entry for an adapter class; with ``like``, one that stands in for another (a wrong or re-written variant)."""
    options = {} if like is None else {**like.__dict__}
    method = next((m for m in METHODS if m.name == variant.name), None)
    fixed = {"name": variant.name, "build": lambda layer, s: attached(variant, layer, s), "code": variant}
    return Entry(**{"method": method, **options, **fixed})


def _row(name: str, **more: object) -> Entry:
    entry = entry_for(by_name(name))
    return Entry(**{**entry.__dict__, **more})


_LORA_OPTIONS = ((("rslora", True),), (("init", "gaussian"),))

ENTRIES: tuple[Entry, ...] = (
    _row("lora", has_dropout=True, options=_LORA_OPTIONS),
    _row("dora", has_dropout=True, options=_LORA_OPTIONS, specials=("zero-row",)),
    _row("ia3", has_rank=False),
    _row("ia3_ff", has_rank=False),
    _row("hra", options=((("gram_schmidt", True),),)),
)
