"""Does an ablation only remove: are the eigenvalues of what it does to the output coordinates in [0, 1]?"""

from __future__ import annotations

import torch

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.compare import EXACT_K, conclude, holds
from conformance.effective import middle
from conformance.entry import Entry
from conformance.model import Finding, Probe
from conformance.trial import Trial, asking_the_subject
from refs.reference import ClosedForm, Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    if not isinstance(reference, ClosedForm) or "contraction" not in entry.laws:
        return ()
    return (SMALL, WIDE, *with_options(entry, SMALL))


def run(trial: Trial) -> Finding:
    values = trial.state(trial.subject())
    subject = trial.subject(values=values)
    with asking_the_subject():
        M = middle(subject, trial.probe.d_in)
    S = values["S"]
    slack = EXACT_K * torch.finfo(torch.float64).eps * (S.max() / S.min()).item()
    eigenvalues = torch.linalg.eigvals(M)
    lowest, highest = eigenvalues.real.min().item(), eigenvalues.real.max().item()
    crooked = (M - M.T).abs().max().item()
    n = len(eigenvalues)
    return conclude(
        trial.case,
        [
            holds(-slack <= lowest, "smallest eigenvalue", f"{lowest:.6g}", "at least 0", n=n),
            holds(highest <= 1 + slack, "largest eigenvalue", f"{highest:.6g}", "at most 1", n=n),
            holds(crooked <= slack, "symmetry", f"off by {crooked:.2g}", "a symmetric matrix", n=M.numel()),
        ],
    )
