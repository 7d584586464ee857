"""Do layers that share one input get the initial values that each would get alone, as in the reference?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL
from conformance.measuring.compare import Comparison, close, conclude, same
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Fault, Finding, Outcome
from conformance.nouns.probe import Probe
from refs.reference import Recorded, Reference, Starts

D = 16
BATCHES = 3
LAYERS = ("q", "k", "v")
FALL = 0.4
"""Standard deviation of each direction of the input beside the one before it."""


class Attention(nn.Module):
    """Three layers that see the same input."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.q, self.k, self.v = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the three."""
        y: Tensor = self.q(x) + self.k(x) + self.v(x)
        return y


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """With and without whitening, of a method whose start looks at data."""
    if entry.starts is None or isinstance(reference, Recorded) or reference.starts is None:
        return ()
    plain = replace(SMALL, state="t0", dtype="float32", adapter=None, d_in=D, d_out=D, options=(("rho", 2.0),))
    return (plain, replace(plain, options=(("rho", 2.0), ("whiten", True))))


def run(trial: Trial) -> Finding:
    """Start three layers together and one alone, on both sides."""
    entry, reference = trial.entry, trial.reference
    assert entry.starts is not None
    assert not isinstance(reference, Recorded)
    assert reference.starts is not None
    with asking_the_subject():
        own, own_alone = _start(trial, entry.starts, LAYERS), _start(trial, entry.starts, LAYERS[:1])
    theirs, theirs_alone = _start(trial, reference.starts, LAYERS), _start(trial, reference.starts, LAYERS[:1])
    first = LAYERS[0]
    beside = [_beside(own, theirs, name) for name in LAYERS]
    alone = _beside(own_alone, theirs_alone, first, " alone")
    # All see the same input, so what the first one starts from alone is what each of them should start from.
    kept = [_beside(own, dict.fromkeys(LAYERS, own_alone[first]), n, ", with others and alone") for n in LAYERS]
    finding = conclude(trial.case, [*beside, alone, *kept])
    sound = alone.agrees and all(c.agrees for c in kept)
    consistent = [_beside(theirs, dict.fromkeys(LAYERS, theirs_alone[first]), name).agrees for name in LAYERS]
    if finding.outcome is Outcome.DIFFER and sound and not all(consistent):
        # peft and the authors divide by sqrt(S) in place, once per layer, in an array that the layers share.
        told = (
            f"In `{reference.id}`, layers that share one input get other initial values together than each of them "
            "alone. The variant's are the same in both cases."
        )
        return replace(finding, fault=Fault.REFERENCE, at_fault=told)
    return finding


def _start(trial: Trial, starts: Starts, layers: tuple[str, ...]) -> dict[str, Tensor]:
    rng = np.random.default_rng([trial.probe.seed, 6])
    spectrum = FALL ** np.arange(D)
    rows = [torch.from_numpy(rng.standard_normal((40, D)) * spectrum + 1.0).float() for _ in range(BATCHES)]
    return starts(Attention(trial.probe.seed), rows, trial.probe.settings, layers)


def _beside(got: Mapping[str, Tensor], want: Mapping[str, Tensor], name: str, where: str = "") -> Comparison:
    """Each direction with its length, without its sign."""
    what = f"directions of {name}{where}"
    if name not in got or name not in want:
        return same(sorted(got), sorted(want), what)
    one, other = (torch.einsum("ij,ik->ijk", A.double(), A.double()).float() for A in (got[name], want[name]))
    return close(one, other, what)
