"""Every peft_type that has a counterpart here, one line each, and why the other variants have none."""

from __future__ import annotations

from variants.exchange.method import PeftMethod
from variants.exchange.peft_delora import METHOD as DELORA
from variants.exchange.peft_hra import METHOD as HRA
from variants.exchange.peft_ia3 import METHOD as IA3
from variants.exchange.peft_lora import METHOD as LORA
from variants.exchange.peft_road import METHOD as ROAD
from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError

PEFT_METHODS: tuple[PeftMethod, ...] = (LORA, IA3, HRA, DELORA, ROAD)

NO_COUNTERPART: dict[str, str] = {
    "antipasto_corda": "peft's CorDA decomposes W C and unwinds with C^-1: another basis, and another update in it",
}
"""Why these have none, where a method of peft has the same name."""


def by_peft_type(peft_type: object, where: str) -> PeftMethod:
    """The row of this ``peft_type``; ``AdapterError`` lists the known ones."""
    for method in PEFT_METHODS:
        if method.peft_type == peft_type:
            return method
    raise AdapterError(
        got="no peft_type" if peft_type is None else f"peft_type={peft_type!r}",
        want="one of " + ", ".join(method.peft_type for method in PEFT_METHODS),
        where=where,
        fix="Only these methods of peft have a counterpart here.",
    )


def by_variant(variant: type[Adapter], where: str) -> PeftMethod:
    """The row that holds this very class: a subclass may compute something else."""
    for method in PEFT_METHODS:
        if variant in method.names:
            return method
    why = NO_COUNTERPART.get(variant.name, "no method of peft is known to compute the same")
    have = ", ".join(each.name for method in PEFT_METHODS for each in method.names)
    raise AdapterError(
        got=f"{variant.name} ({variant.__name__}) cannot be exported to peft: {why}. These can: {have}",
        where=where,
        fix="merge(model) and save the whole model, or save(model, path) to load it here. If peft has the method, give "
        "it a row in variants/exchange/registry.py (docs/adding.md, step 5).",
    )
