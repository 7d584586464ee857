"""Every check, one line each, in the order of the card."""

from __future__ import annotations

from conformance.checks import (
    bf16,
    checkpoint,
    coexistence,
    contraction,
    detach,
    exchange,
    forward,
    gradients,
    group_init,
    influence,
    init,
    merge,
    orthogonality,
    params,
    quantised,
    ranks,
    reconstruction,
    references,
    refusals,
    steering,
    wrapping,
)
from conformance.checks.check import Check

CHECKS: tuple[Check, ...] = tuple(
    Check(module.__name__.rpartition(".")[2], (module.__doc__ or "").strip(), module.probes, module.run)
    for module in (
        references,
        params,
        init,
        group_init,
        reconstruction,
        ranks,
        gradients,
        bf16,
        forward,
        steering,
        contraction,
        orthogonality,
        influence,
        refusals,
        detach,
        checkpoint,
        merge,
        coexistence,
        quantised,
        wrapping,
        exchange,
    )
)
