"""peft as a subject: ``conformance audit --entries subjects.peft.entries:LIBRARY``.

The live reference is the subject itself then, and so agrees by construction; the authors' method and the closed form do
not know it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from peft import LoHaConfig, LoKrConfig, get_peft_model
from peft.tuners.loha.layer import LoHaLayer
from peft.tuners.lokr.layer import LoKrLayer
from torch import nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Entry, Library
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Again, Stored
from refs.reference import Live, Method
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Subject
from subjects import formulas

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


def put_loha(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``get_peft_model`` with ``LoHaConfig``, and the layer in it."""
    return _put(LoHaConfig(r=settings.r, alpha=settings.alpha, target_modules=["0"]), layer)


def put_lokr(layer: nn.Linear, settings: Settings) -> nn.Module:
    """``LoKrConfig`` with LyCORIS's start, of rank 1 whatever the rank that is asked."""
    config = LoKrConfig(r=formulas.LOKR_RANK, alpha=settings.alpha, init_weights="lycoris", target_modules=["0"])
    return _put(config, layer)


def _put(config: Any, layer: nn.Linear) -> nn.Module:
    made: Any = get_peft_model(nn.Sequential(layer), config, autocast_adapter_dtype=False)
    put: nn.Module = made.base_model.model[0]
    return put


LIFE = Lifecycle(merge=merge, unmerge=unmerge)
FORMULA = replace(FOREIGN, merging=Again.IGNORED, stored=Stored.AS_LAYER, offers=())
LOHA = entry(
    "peft_loha",
    formulas.LOHA_HE,
    put_loha,
    names={f"w{n}_{side}": f"hada_w{n}_{side}.default" for n in (1, 2) for side in "ab"},
    code=LoHaLayer,
    lifecycle=LIFE,
    promises=FORMULA,
)
LOKR = replace(
    entry(
        "peft_lokr",
        formulas.LOKR,
        put_lokr,
        names={name: f"lokr_{name}.default" for name in ("w1", "w2_a", "w2_b")},
        code=LoKrLayer,
        lifecycle=LIFE,
        promises=FORMULA,
        notes=("asks for rank 1 and init_weights='lycoris'",),
    ),
    has_rank=False,
)

ENTRIES = (*(_entry(method) for method in METHODS if method.name in CLASSES), LOHA, LOKR)
LIBRARY = Library("peft", ENTRIES)
