"""Do ranks, and with them scales, move to the layers where the inputs vary most, as in the reference?"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL
from conformance.measuring.compare import conclude, holds, same
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Built, Reference

D = 16
SPECTRUM = (5.0, 4.0, 3.0, 2.0, 1.0, 0.5, *[0.1] * (D - 6))
"""Standard deviation of the calibration inputs along each direction."""


class Fork(nn.Module):
    """Layers of a few clear directions (two of the same inputs), of many equal and large ones, and of a single one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.b, self.c = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(8, 12)
        self.twin = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        lone = torch.zeros_like(x) + x.sum(-1, keepdim=True)
        even = 10 * x / torch.tensor(SPECTRUM)
        y: Tensor = self.a(x) + self.twin(x) + self.b(even) + self.c(lone[..., :8].contiguous()).sum(-1, keepdim=True)
        return y


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Option sets of a method that gives each layer a rank of its own."""
    if entry.ranks is None or not isinstance(reference, Built) or reference.ranks is None:
        return ()
    plain = replace(SMALL, state="t0", dtype="float32", adapter=None, d_in=D, d_out=D)
    sets = (
        {"rho": 2.0},
        {"rho": 2.0, "adjust_scaling": False},
        {"rho": 2.0, "rslora": True},
        {"rho": 2.0, "whiten": True},
        {"rho": 1.5},
        {"rho": 1.0},
    )
    made = (replace(plain, options=tuple(sorted(options.items()))) for options in sets)
    faint = replace(plain, options=(("rho", 2.0),), special="faint")
    few = replace(plain, r=2, alpha=3.0, options=(("rho", 1.5),))
    return (*made, faint, few, replace(few, r=1, options=(("rho", 2.0),)))


def run(trial: Trial) -> Finding:
    """Compare rank and scale of every layer of a small model."""
    rng = np.random.default_rng([trial.probe.seed, 4])
    size = 1e-3 if trial.probe.special == "faint" else 1.0
    rows = [size * torch.from_numpy(rng.standard_normal((200, D)) * SPECTRUM).float()]
    model = Fork(trial.probe.seed)
    assert isinstance(trial.reference, Built)
    assert trial.reference.ranks is not None
    assert trial.entry.ranks is not None
    want = trial.reference.ranks(copy.deepcopy(model), rows, trial.probe.settings)
    with asking_the_subject():
        got = trial.entry.ranks(copy.deepcopy(model), rows, trial.probe.settings)
    comparisons = [same(sorted(got), sorted(want), "layers with an adapter")]
    for name in sorted(got.keys() & want.keys()):
        comparisons.append(same(got[name][0], want[name][0], f"rank of {name}"))
        close = abs(got[name][1] - want[name][1]) <= 1e-12 * abs(want[name][1])
        comparisons.append(holds(close, f"scale of {name}", f"{got[name][1]:g}", f"{want[name][1]:g}"))
    return conclude(trial.case, comparisons)
