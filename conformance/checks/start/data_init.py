"""Are initial values from data computed on the original model, and do they span the right subspace?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conformance.checks.check import SMALL, WIDE
from conformance.checks.start.init import sign_free
from conformance.measuring.compare import ROUNDED_K, Comparison, close, conclude
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.measuring.witness import own_start
from conformance.nouns.entry import Entry
from conformance.nouns.facts import BasisFacts, SubspaceFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.calibration import pooled, rounded_to
from refs.reference import ClosedForm, Live, Reference
from refs.subject import Subject

STACK = "two-layers"
HALF_INPUTS = "half-inputs"
BASIS = "basis"
BASES: dict[str, Any] = {"state": "t0", "dtype": "float32", "adapter": None, "special": BASIS}
SAME_SPAN = 1e-3
"""Sine of the largest angle between two subspaces that are the same but for float32 on both sides."""
SINE = 1e-5
"""Limit of the sine of the largest angle between the subject's subspace and the exact one (stored in float32)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Two layers in a row, inputs in half precision or with a known subspace, and bases of live references."""
    if isinstance(reference, Live) and "data_init" in reference.checks:
        return (replace(WIDE, **BASES),)
    if not isinstance(reference, ClosedForm) or entry.build_stack is None:
        return ()
    live = entry.method.references if entry.method is not None else ()
    if reference.start is not None and any(isinstance(r, Live) and "data_init" in r.checks for r in live):
        # The same basis in NumPy: a witness against the live reference.
        return (*_stacks_and_angles(entry, reference), replace(WIDE, **BASES))
    return _stacks_and_angles(entry, reference)


def _stacks_and_angles(entry: Entry, reference: ClosedForm) -> tuple[Probe, ...]:
    fresh = replace(SMALL, state="t0", dtype="float32", adapter=None)
    sets = [{**dict(reference.options), **dict(more)} for more in ((), *entry.options)]
    stacked = tuple(replace(fresh, options=tuple(sorted(o.items())), special=STACK) for o in sets if "calibration" in o)
    stacked += tuple(replace(probe, dtype="bfloat16", special=HALF_INPUTS) for probe in stacked)
    if "principal" not in entry.invariants:
        return stacked
    kinds = ("gap", "mean", "rows")
    angles = tuple(
        replace(
            WIDE,
            state="t0",
            dtype="float32",
            adapter=None,
            options=tuple(sorted({**dict(reference.options), "calibration": k}.items())),
        )
        for k in kinds
    )
    return (*stacked, *angles)


def run(trial: Trial) -> Finding:
    """Compare the start with the one that the original model, or the exact subspace, determines."""
    if trial.probe.special == BASIS:
        return _basis(trial)
    if trial.probe.special == HALF_INPUTS:
        return _half_inputs(trial)
    return _stack(trial) if trial.probe.special == STACK else _angles(trial)


def _basis(trial: Trial) -> Finding:
    """The span of the tensor that both sides have by name, from the same calibration inputs."""
    mine = trial.subject().values()
    if isinstance(trial.reference, ClosedForm):
        started = own_start(trial, trial.reference)
        assert started is not None
        asked = _live(trial).names  # what the live reference has a tensor for
        other = {name: value for name, value in started.items() if name in asked}
    else:
        other = trial.reference_subject().values()
    comparisons = []
    for name in other:
        if name in mine:
            angle = _sine(mine[name], other[name])
            comparisons.append(
                Comparison(
                    f"span of {name}",
                    other[name].numel(),
                    angle <= SAME_SPAN,
                    angle,
                    SAME_SPAN,
                    got=f"sine {angle:.2g}",
                    want=f"at most {SAME_SPAN:g}",
                    numeric=True,
                )
            )
    return conclude(trial.case, comparisons, facts=BasisFacts(_decade(max(c.error for c in comparisons))))


def _live(trial: Trial) -> Subject:
    """The live reference whose basis is compared."""
    assert trial.entry.method is not None
    (live,) = (r for r in trial.entry.method.references if isinstance(r, Live) and "data_init" in r.checks)
    return replace(trial, reference=live).reference_subject()


def _stack(trial: Trial) -> Finding:
    """The second of two layers starts alike, whether the first one gets an adapter too or stays as it is."""
    build = trial.entry.build_stack
    assert build is not None
    p = trial.probe
    starts = []
    for seed, both in ((0, True), (0, False), (1, False)):
        layers = (trial.layer(), replace(trial, probe=replace(p, d_in=p.d_out, d_out=p.d_in, seed=5)).layer())
        torch.manual_seed(seed)
        with asking_the_subject():
            starts.append(build(layers, p.settings, both))
    got, want, redrawn = starts
    drawn = {name for name in want if not torch.equal(want[name], redrawn[name])}
    return conclude(
        trial.case, [close(got[name], want[name], f"{name} of the second layer") for name in want if name not in drawn]
    )


def _half_inputs(trial: Trial) -> Finding:
    """Weight and inputs of a half-precision layer give the start that the same numbers give in float32."""
    dtype = getattr(torch, trial.probe.dtype)
    wide = replace(trial, probe=replace(trial.probe, dtype="float32"))
    with rounded_to(dtype):
        want = sign_free(trial, wide.subject(trial.layer("float32")).values())
        again = sign_free(trial, wide.subject(trial.layer("float32"), seed=1).values())
    got = sign_free(trial, trial.subject().values())
    drawn = {name for name in want if not torch.equal(want[name], again[name])}
    scale = {
        name: SINE / (ROUNDED_K * torch.finfo(torch.float32).eps) * t.abs().max().item() for name, t in want.items()
    }
    return conclude(
        trial.case,
        [
            close(got[name], want[name], f"{name} from inputs in half precision", scale=scale[name])
            for name in want
            if name not in drawn
        ],
    )


def _angles(trial: Trial) -> Finding:
    """Against the principal subspace of the pooled, centred rows, computed in NumPy float64."""
    p = trial.probe
    kind = p.settings.option("calibration", "")
    rows = pooled(kind, p.d_in, torch.float32).double().numpy()
    exact = torch.from_numpy(np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][: p.r].copy())
    own = _sine(trial.subject().values()["A"], exact)
    method = trial.entry.method
    assert method is not None
    theirs = _sine(replace(trial, reference=method.main).reference_subject().values()["A"], exact)
    angle = Comparison(
        "sine of the largest angle to the exact subspace",
        p.r * p.d_in,
        own <= SINE,
        own,
        SINE,
        got=f"{own:.2g}",
        want=f"at most {SINE:g} (reference {theirs:.2g})",
        numeric=True,
    )
    return conclude(trial.case, [angle], facts=SubspaceFacts(kind, _decade(own), _decade(theirs)))


def _sine(A: Tensor, B: Tensor) -> float:
    """Of the largest principal angle between the spans of the rows."""
    one, other = (torch.linalg.qr(t.double().T).Q for t in (A, B))
    return float(torch.linalg.matrix_norm(one - other @ (other.T @ one), 2))


def _decade(x: float) -> str:
    """A figure that is the same on every machine: its decade."""
    if x <= SINE:
        return f"at most {SINE:g}"
    low = math.floor(math.log10(min(x, 0.999)))
    return f"between {10.0**low:g} and {10.0 ** (low + 1):g}"
