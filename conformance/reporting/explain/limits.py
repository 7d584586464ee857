"""Where a limit comes from, in words."""

from __future__ import annotations

import torch

from conformance.measuring.compare import BARE_EPS_SHARE, EXACT_K, FEW, LOW_PRECISION_FACTOR, ROUNDED_K
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe

BESIDE_THE_REFERENCE = ("low_precision", "quantised")
"""Checks that compare errors: the reference's own is the measure."""


def origin(check: str, probe: Probe, finding: Finding) -> str:
    """Which rule gave the limit of the reported comparison."""
    if not finding.numeric and not finding.limit:
        return "words, shapes, dtypes or bits: they must be equal"
    if finding.exact_bound:
        return "what exact arithmetic allows (half a spacing for a number that is rounded once)"
    if not finding.limit:
        return "0: the numbers must be equal bit for bit"
    if check in BESIDE_THE_REFERENCE:
        return (
            f"the reference's own root-mean-square error against float64 times {LOW_PRECISION_FACTOR:g} "
            f"+ {BARE_EPS_SHARE:g} of a spacing of the output dtype ({ROUNDED_K} spacings in float32); over n numbers "
            f"factor and share grow by {FEW:g}/sqrt(n) (conformance/measuring/compare.py)"
        )
    eps = torch.finfo(getattr(torch, probe.dtype)).eps
    k = EXACT_K if probe.dtype == "float64" else ROUNDED_K
    product = f"{k} x {eps:.3g} x {finding.limit / (k * eps):.3g}"
    return (
        f"{k} eps of {probe.dtype} times the scale of what is compared: {product}; the scale is the largest number "
        "of the reference unless the check gives another (conformance/measuring/compare.py)"
    )
