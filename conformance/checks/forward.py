"""Does it compute the reference's function, in float64, at t=0 and wherever training may take it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import SMALL, WIDE, with_options
from conformance.compare import close, conclude
from conformance.entry import Entry
from conformance.model import Fault, Finding, Outcome, Probe
from conformance.stability import ill_posed
from conformance.trial import Trial, asking_the_subject
from conformance.trial import run as run_pass
from refs.reference import ClosedForm, Live


def probes(entry: Entry, reference: Live | ClosedForm) -> tuple[Probe, ...]:
    dropout = (("dropout", 0.5),)
    t0 = replace(SMALL, state="t0")
    live = isinstance(reference, Live)
    return (
        t0,
        SMALL,
        WIDE,
        replace(SMALL, bias=False),
        replace(SMALL, alpha=4.0),
        replace(SMALL, r=2),
        replace(SMALL, batch=(2, 3)),
        replace(SMALL, batch=(2, 1, 3)),
        replace(SMALL, batch=(1,)),
        replace(SMALL, batch=()),
        replace(SMALL, special="strided", batch=(4, 5)),
        replace(WIDE, seed=3, bias=False),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
        *with_options(entry, WIDE),
        *(replace(SMALL, special=special) for special in entry.specials),
        *(replace(t0, special=special) for special in entry.specials),
        *([replace(SMALL, options=dropout)] if entry.has_dropout else []),
        *([replace(SMALL, training=True, options=dropout, batch=(2, 7))] if entry.has_dropout and live else []),
        *([replace(SMALL, training=True, options=dropout, bias=False)] if entry.has_dropout and live else []),
    )


def run(trial: Trial) -> Finding:
    if isinstance(trial.reference, ClosedForm):
        values = trial.state(trial.subject())
        want = _closed(trial, trial.reference, values)
    else:
        values = trial.state(trial.live())
        want = run_pass(trial.live(values=values), trial.x, trial.cotangent, backward=False).y
    subject = trial.subject(values=values)
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent, backward=False).y
    finding = conclude(trial.case, [close(got, want, "output")])
    if finding.outcome is Outcome.DIFFER and isinstance(trial.reference, Live) and ill_posed(trial, values):
        return replace(finding, fault=Fault.REFERENCE, facts={"ill_posed": True})
    return finding


def _closed(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor]) -> Tensor:
    layer = trial.layer()
    W = layer.weight.detach().numpy()
    b = layer.bias.detach().numpy() if layer.bias is not None else torch.zeros(len(W), dtype=torch.float64).numpy()
    weight, bias = form.effective({name: v.numpy() for name, v in values.items()}, W, b, trial.probe.settings)
    return torch.from_numpy(trial.x.numpy() @ weight.T + bias)
