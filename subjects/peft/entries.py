"""peft as a subject: ``conformance audit --entries subjects.peft.entries:LIBRARY``.

The live reference is the subject itself then, and so agrees by construction; the authors' method and the closed form do
not know it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from torch import nn

from conformance.nouns.entry import Entry, Library
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Again
from refs.reference import Live, Method
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Subject

CLASSES = {
    "lora": "peft.tuners.lora.layer:Linear",
    "pissa": "peft.tuners.lora.layer:Linear",
    "eva": "peft.tuners.lora.layer:Linear",
    "dora": "peft.tuners.lora.dora:DoraLinearLayer",
    "delora": "peft.tuners.delora.layer:DeloraLinear",
    "hra": "peft.tuners.hra.layer:HRALinear",
    "road": "peft.tuners.road.layer:Linear",
    "ia3": "peft.tuners.ia3.layer:Linear",
    "ia3_ff": "peft.tuners.ia3.layer:Linear",
}


def merge(subject: Subject) -> None:
    """The layer's own ``merge``."""
    _layer(subject).merge()  # type: ignore[operator]


def unmerge(subject: Subject) -> None:
    """The layer's own ``unmerge``."""
    _layer(subject).unmerge()  # type: ignore[operator]


def _layer(subject: Subject) -> nn.Module:
    return subject.host.get_submodule("layer")


def _entry(method: Method) -> Entry:
    live = next(reference for reference in method.references if isinstance(reference, Live))
    module, _, name = CLASSES[method.name].partition(":")

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        built = next(r for r in method.references if isinstance(r, Live) and r.covers(settings))
        return built.build(layer, settings)

    return Entry(
        f"peft_{method.name}",
        build,
        getattr(import_module(module), name),
        method,
        has_rank=method.name not in ("ia3", "ia3_ff"),
        lifecycle=Lifecycle(merge=merge, unmerge=unmerge),
        promises=replace(FOREIGN, merging=Again.IGNORED, offers=tuple(dict(live.options))),
        notes=("the live reference is the subject itself",),
    )


ENTRIES = tuple(_entry(method) for method in METHODS if method.name in CLASSES)
LIBRARY = Library("peft", ENTRIES)
