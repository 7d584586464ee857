"""Does it compute the reference's function, in float64, at t=0 and wherever training may take it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import DROPOUT, SMALL, WIDE, with_options
from conformance.compare import close, conclude, same
from conformance.entry import Entry
from conformance.model import Fault, Finding, Outcome, Probe
from conformance.stability import ill_posed
from conformance.trial import RESIDUAL, Trial, asking_the_subject
from conformance.trial import run as run_pass
from refs.reference import Built, ClosedForm, Reference
from refs.subject import Subject


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    dropout = (("dropout", DROPOUT),)
    t0 = replace(SMALL, state="t0")
    built = isinstance(reference, Built)
    return (
        t0,
        SMALL,
        WIDE,
        replace(SMALL, bias=False),
        replace(SMALL, alpha=4.0),
        replace(SMALL, r=2),
        replace(SMALL, batch=(2, 3)),
        replace(SMALL, batch=(2, 1, 3)),
        replace(SMALL, d_in=16, d_out=16),
        replace(SMALL, batch=(1,)),
        replace(SMALL, batch=()),
        replace(SMALL, batch=(0, 3)),
        replace(SMALL, special="strided", batch=(4, 5)),
        replace(SMALL, training=True),
        replace(WIDE, seed=3, bias=False),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
        *with_options(entry, WIDE),
        *(replace(SMALL, special=special) for special in entry.specials),
        *(replace(t0, special=special) for special in entry.specials),
        *([replace(SMALL, options=dropout)] if entry.has_dropout else []),
        *([replace(SMALL, training=True, options=dropout, batch=(2, 7))] if entry.has_dropout and built else []),
        *([replace(SMALL, training=True, options=dropout, bias=False)] if entry.has_dropout and built else []),
    )


def run(trial: Trial) -> Finding:
    if isinstance(trial.reference, ClosedForm):
        values = trial.state(_start(trial))
        want = _closed(trial, trial.reference, values)
    else:
        values = trial.state(trial.other())
        want = run_pass(trial.other(values=values), trial.x, trial.cotangent, backward=False).y
    x = trial.x.clone()
    subject = trial.subject()
    with asking_the_subject():
        # A call at its own start comes first: what is kept from it must not be used once the tensors have moved.
        run_pass(subject, x, trial.cotangent, backward=False)
        trial.load(subject, values)
        got, again = (run_pass(subject, x, trial.cotangent, backward=False).y for _ in range(2))
    comparisons = [close(got, want, "output"), close(again, want, "output of the next call")]
    if not want.numel():
        comparisons.append(same(tuple(got.shape), tuple(want.shape), "output of an empty batch: shape"))
    if not torch.equal(x, trial.x):  # else left out: it must not count as something compared
        comparisons.append(close(x, trial.x, "the caller's x after the calls", scale=0.0))
    finding = conclude(trial.case, comparisons)
    asked = finding.outcome is Outcome.DIFFER and want.numel() and isinstance(trial.reference, Built)
    if asked and ill_posed(trial, values):
        return replace(finding, fault=Fault.REFERENCE, facts={"ill_posed": True})
    return finding


def _start(trial: Trial) -> Subject:
    """Where the closed form starts: at t=0 from the subject's own values, else from the live reference's.

    The two references then speak of the same perturbed numbers, so that one may be a witness against the other.
    """
    method = trial.entry.method
    if trial.probe.state == "t0" or method is None:
        return trial.subject()
    return replace(trial, reference=method.witness_for(trial.probe.settings)).other()


def _closed(trial: Trial, form: ClosedForm, values: Mapping[str, Tensor]) -> Tensor:
    layer = trial.layer()
    values = dict(values)
    W = values.pop(RESIDUAL, layer.weight.detach()).numpy()
    b = layer.bias.detach().numpy() if layer.bias is not None else torch.zeros(len(W), dtype=torch.float64).numpy()
    weight, bias = form.effective({name: v.numpy() for name, v in values.items()}, W, b, trial.probe.settings)
    return torch.from_numpy(trial.x.numpy() @ weight.T + bias)
