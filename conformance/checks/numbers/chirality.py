"""In which direction does an angle of +x, as each side stores it, rotate each basis?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, with_options
from conformance.checks.numbers.effective import middle
from conformance.measuring.compare import conclude, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.facts import SenseFacts, SidePair
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

TURN = 0.4
"""Of the first angle, the others being zero: the first two singular directions turn in their plane."""
ANGLES = "angles_"
FLAT = 1e-9
"""What turns less than this does not turn (float64)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Option sets in which each parameter turns one basis."""
    if "rotation" not in entry.invariants:
        return ()
    fresh = replace(SMALL, state="t0")
    return tuple(probe for probe in (fresh, *with_options(entry, fresh)) if _separable(probe))


def run(trial: Trial) -> Finding:
    """Set one angle at a time and see where the first singular direction goes."""
    subject = trial.subject()
    with asking_the_subject():
        names = [name for name in subject.slots() if name.startswith(ANGLES)]
        own = {name: _sense(trial, trial.subject(), name) for name in names}
    if isinstance(trial.reference, ClosedForm):
        theirs = {name: _closed_sense(trial, trial.reference, subject, name) for name in names}
    else:
        angles = [name for name in trial.reference_subject().names if name.startswith(ANGLES)]
        theirs = {name: _sense(trial, trial.reference_subject(), name) for name in angles}
    compared = [same(own.get(name, "none"), theirs.get(name, "none"), f"turn of +{name}") for name in {**own, **theirs}]
    pairs = tuple(SidePair(name, told, theirs.get(name, "none")) for name, told in own.items())
    return conclude(trial.case, compared, facts=SenseFacts(pairs))


def _separable(probe: Probe) -> bool:
    """Where one parameter turns both bases, they turn against each other: it has no one sense."""
    return dict(probe.options).get("rotate_basis", "V") not in ("none", "shared")


def _sense(trial: Trial, subject: Subject, name: str) -> str:
    """As stored, without the view through which the harness reads the tensor."""
    with torch.no_grad():
        for other, (path, _) in subject.names.items():
            if other.startswith(ANGLES) or other == "delta":
                subject.host.get_parameter(path).zero_()
        subject.host.get_parameter(subject.names[name][0])[0, 0] = TURN
    return _in_words(name, middle(subject, trial.probe.d_in), subject.slots()["S"].value.double())


def _closed_sense(trial: Trial, form: ClosedForm, subject: Subject, name: str) -> str:
    values = trial.state(subject)
    W = values.pop(RESIDUAL).numpy()
    still = {n: torch.zeros_like(v) if n.startswith(ANGLES) or n == "delta" else v for n, v in values.items()}
    still[name][0, 0] = TURN
    whole, _ = form.effective({n: v.numpy() for n, v in still.items()}, W, 0 * W[:, 0], trial.probe.settings)
    added = torch.from_numpy(whole - W)
    return _in_words(name, _core(added, still), still["S"])


def _core(added: Tensor, t: Mapping[str, Tensor]) -> Tensor:
    M: Tensor = torch.linalg.pinv(t["U"]) @ added @ torch.linalg.pinv(t["S"][:, None] * t["Vh"])
    return M


def _in_words(name: str, M: Tensor, S: Tensor) -> str:
    """``M`` of W' = W_res + U M diag(S) Vh: S R S^-1 where Vh turns, R^T where U does."""
    towards = M[0, 1] * S[1] / S[0] if name == "angles_v" else M[1, 0]
    first, second = ("row 0 of Vh", "row 1") if name == "angles_v" else ("column 0 of U", "column 1")
    if abs(towards) < FLAT:
        return f"{first} does not turn"
    return f"{first} turns {'towards' if towards > 0 else 'away from'} {second}"
