"""LyCORIS as a subject: ``conformance audit --entries subjects.lycoris.entries:LIBRARY``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import Tensor, nn

from conformance.foreign.entry import entry
from conformance.nouns.entry import Entry, Library
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Stored
from refs.settings import Settings
from refs.subject import Subject, shifted
from subjects import formulas


class Wrapped(nn.Module):
    """The layer and the LyCORIS module that patches its ``forward``, which knows the layer but does not register it."""

    def __init__(self, layer: nn.Linear, made: Any) -> None:
        super().__init__()
        self.layer, self.lycoris = layer.requires_grad_(False), made
        made.apply_to()

    def forward(self, x: Tensor) -> Tensor:
        """A call of the layer, as patched."""
        y: Tensor = self.layer(x)
        return y


def _put(kind: Any, layer: nn.Linear, settings: Settings, **more: Any) -> nn.Module:
    made = kind("lycoris", layer, lora_dim=settings.r, alpha=settings.alpha, **more)
    return Wrapped(layer, made.to(layer.weight.dtype))


def put_lora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """LoCon on a linear layer, which is LoRA."""
    return _put(LoConModule, layer, settings)


def put_dora(layer: nn.Linear, settings: Settings) -> nn.Module:
    """LoCon with ``weight_decompose``, which LyCORIS calls DoRA."""
    return _put(LoConModule, layer, settings, weight_decompose=True)


def put_loha(layer: nn.Linear, settings: Settings) -> nn.Module:
    """The Hadamard product of two products."""
    return _put(LohaModule, layer, settings)


def put_lokr(layer: nn.Linear, settings: Settings) -> nn.Module:
    """The Kronecker product of a matrix and a product, of rank 1 whatever the rank that is asked."""
    return _put(LokrModule, layer, replace(settings, r=formulas.LOKR_RANK))


def put_ia3(layer: nn.Linear, settings: Settings) -> nn.Module:
    """(IA)^3 on the output."""
    return _put(IA3Module, layer, settings)


def put_ia3_ff(layer: nn.Linear, settings: Settings) -> nn.Module:
    """(IA)^3 on the input."""
    return _put(IA3Module, layer, settings, train_on_input=True)


def merge(subject: Subject) -> None:
    """The module's own ``restore`` and ``merge_to``: the layer is a plain one then."""
    made: Any = subject.host.get_submodule("layer").lycoris
    made.restore()
    made.merge_to(1.0)


LIFE = Lifecycle(merge=merge)
PROMISES = replace(FOREIGN, stored=Stored.AS_LAYER)
LOCON = replace(PROMISES, bookkeeping=("*.dtype_tensor", "*.lycoris.alpha", "*.lycoris.scalar"))
NOTES = (
    "registers the layer beside the LyCORIS module, and calls apply_to",
    "freezes the layer",
    "casts the LyCORIS module to the layer's dtype",
)

LORA = entry("lycoris_lora", "lora", put_lora, code=LoConModule, lifecycle=LIFE, promises=LOCON, notes=NOTES)
DORA = entry("lycoris_dora", "dora", put_dora, code=LoConModule, lifecycle=LIFE, promises=LOCON, notes=NOTES)
LOHA = entry(
    "lycoris_loha",
    formulas.LOHA,
    put_loha,
    names={f"w{n}_{side}": f"lycoris.hada_w{n}_{side}" for n in (1, 2) for side in "ab"},
    code=LohaModule,
    lifecycle=LIFE,
    promises=LOCON,
    notes=NOTES,
)
LOKR = replace(
    entry(
        "lycoris_lokr",
        formulas.LOKR,
        put_lokr,
        names={name: f"lycoris.lokr_{name}" for name in ("w1", "w2_a", "w2_b")},
        code=LokrModule,
        lifecycle=LIFE,
        promises=LOCON,
        notes=(*NOTES, "asks for rank 1"),
    ),
    has_rank=False,
)


def _ia3(name: str, method: str, put: Any) -> Entry:
    return entry(
        name,
        method,
        put,
        names={"g": ("lycoris.weight", shifted(1.0))},
        code=IA3Module,
        lifecycle=LIFE,
        promises=replace(PROMISES, bookkeeping=("*.dtype_tensor", "*.on_input")),
        notes=(*NOTES, "reads g as the stored weight + 1"),
    )


IA3, IA3_FF = _ia3("lycoris_ia3", "ia3", put_ia3), _ia3("lycoris_ia3_ff", "ia3_ff", put_ia3_ff)

LIBRARY = Library("lycoris-lora", (LORA, DORA, LOHA, LOKR, IA3, IA3_FF))
