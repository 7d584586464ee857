"""In which direction does an angle of +x, as each side stores it, rotate each basis?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, named, with_options
from conformance.checks.numbers.effective import middle
from conformance.measuring.compare import conclude, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.facts import AngleSenses, Sense, SenseFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

TURN = 0.4
"""Of the first angle, the others being zero: the first two singular directions turn in their plane."""
ANGLES = "angles_"
BASIS = "rotate_basis"
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
    senses = tuple(
        AngleSenses(name, own.get(name, Sense.NONE), theirs.get(name, Sense.NONE)) for name in {**own, **theirs}
    )
    compared = [
        same(_in_words(a.tensor, a.subject), _in_words(a.tensor, a.reference), f"turn of +{a.tensor}") for a in senses
    ]
    basis = dict(trial.probe.options).get(BASIS, "V")
    return conclude(trial.case, compared, facts=SenseFacts(basis, named(trial.probe, without=BASIS), senses))


def _separable(probe: Probe) -> bool:
    """Where one parameter turns both bases, they turn against each other: it has no one sense."""
    return dict(probe.options).get(BASIS, "V") not in ("none", "shared")


def _sense(trial: Trial, subject: Subject, name: str) -> Sense:
    """As stored, without the view through which the harness reads the tensor."""
    with torch.no_grad():
        for other, (path, _) in subject.names.items():
            if other.startswith(ANGLES) or other == "delta":
                subject.host.get_parameter(path).zero_()
        subject.host.get_parameter(subject.names[name][0])[0, 0] = TURN
    return _towards(name, middle(subject, trial.probe.d_in), subject.slots()["S"].value.double())


def _closed_sense(trial: Trial, form: ClosedForm, subject: Subject, name: str) -> Sense:
    values = trial.state(subject)
    W = values.pop(RESIDUAL).numpy()
    still = {n: torch.zeros_like(v) if n.startswith(ANGLES) or n == "delta" else v for n, v in values.items()}
    still[name][0, 0] = TURN
    whole, _ = form.effective({n: v.numpy() for n, v in still.items()}, W, 0 * W[:, 0], trial.probe.settings)
    added = torch.from_numpy(whole - W)
    return _towards(name, _core(added, still), still["S"])


def _core(added: Tensor, t: Mapping[str, Tensor]) -> Tensor:
    M: Tensor = torch.linalg.pinv(t["U"]) @ added @ torch.linalg.pinv(t["S"][:, None] * t["Vh"])
    return M


def _towards(name: str, M: Tensor, S: Tensor) -> Sense:
    """``M`` of W' = W_res + U M diag(S) Vh: S R S^-1 where Vh turns, R^T where U does."""
    towards = M[0, 1] * S[1] / S[0] if name == "angles_v" else M[1, 0]
    if abs(towards) < FLAT:
        return Sense.STILL
    return Sense.TOWARDS if towards > 0 else Sense.AWAY


def _in_words(name: str, sense: Sense) -> str:
    first, second = ("row 0 of Vh", "row 1") if name == "angles_v" else ("column 0 of U", "column 1")
    turns = {Sense.TOWARDS: f"turns towards {second}", Sense.AWAY: f"turns away from {second}", Sense.STILL: sense}
    return f"{first} {turns[sense]}" if sense in turns else str(sense)
