"""Which targets to leave out because the model reads their weights itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig, LowRankConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.reads import read_by_source, read_in
from variants.runtime.layers.report import grouped


def sort_out(
    model: nn.Module, variant: type[Adapter], config: AdapterConfig, targets: Mapping[str, nn.Module], sample: Any
) -> tuple[dict[str, str], dict[str, str]]:
    """Targets to leave out because the model reads their weights itself, and notes on others, with reasons."""
    reads = read_by_source(model, targets) if sample is None else read_in(model, targets, sample)
    replaces = variant.residual is not Adapter.residual
    left, notes, unsure = {}, {}, []
    for target, read in reads.items():
        if not read.where:
            notes[target] = read.reason
        elif not config.targets.include:
            left[target] = read.reason
            unsure += [target] if read.called and sample is None else []
        elif read.called and not replaces:
            notes[target] = f"{read.reason}: the adapter acts where it is called"
        else:
            raise AdapterError(
                got=f"a layer that is not only called: {read.reason}",
                want="a layer whose forward alone uses its weight",
                where=f"attach {variant.name} to {target}",
                fix=f"Leave it out with Targets(exclude=({target!r},))."
                + (" If your runs only call it, show one with sample=batch." if sample is None else ""),
            )
    if unsure:
        warnings.warn(
            f"left out {', '.join(grouped(unsure))}: the model's source calls them and reads their weights past them. "
            "Pass attach(..., sample=batch), on which the model runs, to see which of both happens.",
            stacklevel=3,
        )
    return left, notes


def more_than_full(built: Mapping[str, Adapter]) -> dict[str, str]:
    """Notes on updates of a higher rank than their layer's weight can have."""
    found = {}
    for target, adapter in built.items():
        full, r = min(adapter.d_in, adapter.d_out), getattr(adapter.config, "r", None)
        if isinstance(adapter.config, LowRankConfig) and isinstance(r, int) and r > full:
            found[target] = (
                f"r={r} is more than the full rank of the weight, {full}: the update has rank {full} at most"
            )
    return found
