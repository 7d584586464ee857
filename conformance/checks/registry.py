"""Every check, one line each, in the order of the card."""

from __future__ import annotations

from conformance.checks.check import Check
from conformance.checks.lifecycle import checkpoint, coexistence, detach, merge
from conformance.checks.numbers import (
    chirality,
    contraction,
    forward,
    gradients,
    low_precision,
    masks,
    orthogonality,
    pairing,
    penalty,
    steering,
    trajectory,
)
from conformance.checks.space import space
from conformance.checks.start import data_init, init, ranks, reconstruction, several_layers, shared_inputs
from conformance.checks.tensors import influence, params, promises, recorded, references, refusals
from conformance.checks.use import exchange, execution_modes, quantised

CHECKS: tuple[Check, ...] = tuple(
    Check(module.__name__.rpartition(".")[2], (module.__doc__ or "").strip(), module.probes, module.run)
    for module in (
        references,
        params,
        init,
        data_init,
        reconstruction,
        ranks,
        shared_inputs,
        several_layers,
        gradients,
        low_precision,
        forward,
        space,
        steering,
        contraction,
        orthogonality,
        chirality,
        penalty,
        pairing,
        trajectory,
        influence,
        recorded,
        refusals,
        promises,
        detach,
        checkpoint,
        merge,
        coexistence,
        quantised,
        execution_modes,
        exchange,
        masks,
    )
)
