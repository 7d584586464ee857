"""Does an ablation only remove: are the eigenvalues of its action on the output coordinates in [0, 1]?"""

from __future__ import annotations

import torch
from torch import Tensor

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.checks.numbers.effective import middle
from conformance.measuring.compare import EXACT_K, Comparison, conclude, holds
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Entries with that invariant, against the closed form."""
    if not isinstance(reference, ClosedForm) or "contraction" not in entry.invariants:
        return ()
    return (SMALL, WIDE, *with_options(entry, SMALL))


REACH = (-30.0, 1.0, 30.0)
"""How far the trained tensors are stretched: beyond every bound that the method puts on them, to either side."""


def run(trial: Trial) -> Finding:
    """Measure the eigenvalues of the core, with the trained tensors stretched far to both sides."""
    values = trial.state(trial.subject())
    comparisons = []
    for times in REACH:
        subject = trial.subject()
        trained = {name for name, slot in subject.slots().items() if slot.trainable}
        trial.load(subject, {name: v * times if name in trained else v for name, v in values.items()})
        with asking_the_subject():
            M = middle(subject, trial.probe.d_in)
        comparisons += _bounds(M, values["S"], f" with the trained tensors times {times:g}")
    return conclude(trial.case, comparisons)


def _bounds(M: Tensor, S: Tensor, where: str) -> list[Comparison]:
    slack = EXACT_K * torch.finfo(torch.float64).eps * (S.max() / S.min()).item()
    eigenvalues = torch.linalg.eigvals(M)
    lowest, highest = eigenvalues.real.min().item(), eigenvalues.real.max().item()
    crooked = (M - M.T).abs().max().item()
    n = len(eigenvalues)
    return [
        holds(-slack <= lowest, "smallest eigenvalue" + where, f"{lowest:.6g}", "at least 0", n=n),
        holds(highest <= 1 + slack, "largest eigenvalue" + where, f"{highest:.6g}", "at most 1", n=n),
        holds(crooked <= slack, "symmetry" + where, f"off by {crooked:.2g}", "a symmetric matrix", n=M.numel()),
    ]
