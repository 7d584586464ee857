"""Every check, one line each, in the order of the card."""

from __future__ import annotations

from conformance.checks import bf16, forward, gradients, influence, init, params, references
from conformance.checks.check import Check

CHECKS: tuple[Check, ...] = tuple(
    Check(module.__name__.rpartition(".")[2], (module.__doc__ or "").strip(), module.probes, module.run)
    for module in (references, params, init, gradients, bf16, forward, influence)
)
