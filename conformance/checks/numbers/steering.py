"""Is coefficient 0 the base model for any trained tensors, and are R(c) and R(-c) inverse?"""

from __future__ import annotations

from dataclasses import replace

import torch

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.checks.numbers.effective import middle
from conformance.measuring.compare import close, conclude
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference

TURNED = "opposite-turns"


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Entries with that invariant, with coefficient 0, and those that rotate one side, with opposite ones."""
    if not isinstance(reference, ClosedForm) or "steering" not in entry.invariants:
        return ()
    asked = (SMALL, WIDE, replace(SMALL, bias=False), *with_options(entry, SMALL))
    off = tuple(probe.under(coeff=0.0) for probe in asked)
    if "rotation" not in entry.invariants:
        return off
    turned = tuple(replace(probe, special=TURNED) for probe in asked if _turns_one_side(probe))
    return (*off, *turned)


def run(trial: Trial) -> Finding:
    """Compare with the base layer at coefficient 0, or the turns with each other."""
    if trial.probe.special == TURNED:
        return _opposite_turns(trial)
    values = trial.state(trial.subject())
    subject = trial.subject(values=values)
    with asking_the_subject(), torch.no_grad():
        got = subject(trial.x)
    return conclude(trial.case, [close(got, trial.layer()(trial.x).detach(), "output at coeff = 0")])


def _opposite_turns(trial: Trial) -> Finding:
    """With S untouched, M = R^T or S R S^-1; one turn after the opposite one gives the identity back."""
    coeff = trial.probe.settings.option("coeff", 1.0)
    there, back = (replace(trial, probe=trial.probe.under(coeff=c)) for c in (coeff, -coeff))
    values = there.state(there.subject())
    if "delta" in values:
        values["delta"] = torch.zeros_like(values["delta"])
    with asking_the_subject():
        one, other = (middle(t.subject(values=values), trial.probe.d_in) for t in (there, back))
    # M is compared in the basis that turns, where it is orthogonal.
    S = values["S"]
    if "angles_v" in values:
        one, other = (M * S / S[:, None] for M in (one, other))
    identity = torch.eye(len(S), dtype=torch.float64)
    scale = (S.max() / S.min()).item() ** 2
    return conclude(
        trial.case,
        [
            close(other @ one, identity, "R(-c) R(c)", scale=scale),
            close(other, one.T.contiguous(), "R(-c) against the transpose of R(c)", scale=scale),
            close(one @ one.T, identity, "R R^T", scale=scale),
        ],
    )


def _turns_one_side(probe: Probe) -> bool:
    return dict(probe.options).get("rotate_basis", "V") in ("V", "U")
