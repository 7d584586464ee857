"""Does the gradient flow where the reference's flows, with the same values, into the tensors and into the input?"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from conformance.checks.check import DROPOUT, SMALL, WIDE, with_options
from conformance.compare import close, conclude, same
from conformance.entry import Entry
from conformance.model import Fault, Finding, Outcome, Probe
from conformance.stability import ill_posed
from conformance.trial import Run, Trial, asking_the_subject
from conformance.trial import run as run_both_ways
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

DEAD = 1e-10
"""A gradient is dead when it is below this share of the largest gradient (float64)."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    if isinstance(reference, ClosedForm):
        return ()
    t0 = replace(SMALL, state="t0")
    dropout = (("dropout", DROPOUT),)
    return (
        t0,
        replace(WIDE, state="t0"),
        SMALL,
        WIDE,
        replace(SMALL, bias=False),
        replace(SMALL, special="strided", batch=(4, 5)),
        replace(SMALL, training=True),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
        *([replace(SMALL, training=True, options=dropout, batch=(2, 7))] if entry.has_dropout else []),
        *(replace(SMALL, special=special) for special in entry.specials),
    )


def run(trial: Trial) -> Finding:
    # Each side's own start shows where the gradient flows at first; the same tensors on both sides show its values.
    reference = trial.other()
    values = trial.state(reference)
    want = run_both_ways(trial.other(values=values), trial.x, trial.cotangent)
    subject = trial.subject(values=values)
    with asking_the_subject():
        got = run_both_ways(subject, trial.x, trial.cotangent)

    scale = _scale(want)
    comparisons = [close(got.grad_x, want.grad_x, "gradient of x")]
    for name, grad in want.grads.items():
        floor = None if grad is not None and not _is_dead(grad, scale) else scale
        comparisons.append(close(got.grads.get(name), grad, f"gradient of {name}", scale=floor))
    comparisons.append(same(sorted(got.grads), sorted(want.grads), "tensors that train"))
    comparisons.append(same(_base_grads(subject), {}, "gradients of the base"))
    facts: dict[str, dict[str, list[str]]] = {}
    if trial.probe.state == "t0":
        with asking_the_subject():
            own = _flow(run_both_ways(trial.subject(), trial.x, trial.cotangent))
        theirs = _flow(run_both_ways(trial.other(), trial.x, trial.cotangent))
        comparisons.append(same(own, theirs, "dead or live at t=0"))
        facts = {"flow": {name: [own.get(name, "none"), theirs.get(name, "none")] for name in sorted({*own, *theirs})}}
    finding = conclude(trial.case, comparisons, facts=facts)
    if finding.outcome is Outcome.DIFFER and ill_posed(trial, values):
        return replace(finding, fault=Fault.REFERENCE, facts={**facts, "ill_posed": True})
    return finding


def _scale(run: Run) -> float:
    grads = [g[g.isfinite()] for g in (run.grad_x, *run.grads.values()) if g is not None]
    return max((g.abs().max().item() for g in grads if g.numel()), default=0.0)


def _is_dead(grad: Tensor | None, scale: float) -> bool:
    return grad is None or grad.abs().max().item() <= DEAD * scale


def _flow(run: Run) -> dict[str, str]:
    """``dead`` or ``live`` per trainable tensor, and ``x`` for the input."""
    scale = _scale(run)
    return {name: "dead" if _is_dead(g, scale) else "live" for name, g in {**run.grads, "x": run.grad_x}.items()}


def _base_grads(subject: Subject) -> dict[str, str]:
    return {name: "not None" for name, p in subject.base.named_parameters(recurse=False) if p.grad is not None}
