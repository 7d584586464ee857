"""In bfloat16, float16, float32: identity, errors, output dtype as in the reference? Is one step lost to rounding?"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from conformance.checks.check import NEXT_TO_NO_DROPOUT, SMALL, WIDE, with_options
from conformance.checks.numbers.steps import reaches_the_output
from conformance.checks.start.identity import is_identity, is_identity_of
from conformance.measuring.compare import Comparison, conclude, no_less_exact, same
from conformance.measuring.conditioning import signs
from conformance.measuring.rounding import whole_spectrum, within_one_rounding
from conformance.measuring.trial import RESIDUAL, Run, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from conformance.measuring.witness import own_start, passes
from conformance.nouns.entry import Entry
from conformance.nouns.facts import SidePair, StepFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import SHORT_DTYPES, Probe
from refs.reference import ClosedForm, Live, Reference
from refs.subject import Subject

STEP = 1e-3
"""One step of this size per number against the gradient's sign: what Adam's first step is at lr = 1e-3."""

ROWS = (64,)
"""The batch where an error is averaged over many numbers."""
"""Enough rows for a root mean square of an error to say something."""

NOT_FINITE = "gradient not finite"


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Each pair of dtypes of base and adapter, at t=0 and perturbed, against each layer."""
    if isinstance(reference, ClosedForm) and reference.pullback is None:
        return ()
    asked = _asked(entry)
    if isinstance(reference, ClosedForm):  # a witness of what is computed, where another reference says how it rounds
        plain = (p for p in asked if not p.special and _answers(entry, p))
        starts = reference.draw is not None
        return tuple(p for p in plain if p.state != "t0" or (starts and reference.tells(p.settings)))
    return asked


def _asked(entry: Entry) -> tuple[Probe, ...]:
    low = tuple(replace(SMALL, dtype=dtype, adapter=None) for dtype in ("bfloat16", "float16"))
    more = tuple(probe for p in low for probe in (replace(p, batch=(4, 16)), replace(p, training=True, batch=ROWS)))
    plain = replace(SMALL, dtype="bfloat16", adapter=None, batch=ROWS)
    more += with_options(entry, plain)
    more += tuple(replace(plain, special=special) for special in entry.specials)
    more += tuple(q for p in whole_spectrum(entry, replace(WIDE, batch=ROWS)) for q in (p, *with_options(entry, p)))
    if entry.has_dropout:  # which takes another way, and drops nothing here
        more += (replace(plain, training=True, options=(("dropout", NEXT_TO_NO_DROPOUT),)),)
    return more + tuple(
        replace(probe, state=state, dtype=dtype, adapter=adapter)
        for dtype, adapters in (
            ("bfloat16", (None, "bfloat16")),
            ("float16", (None, "float16")),
            ("float32", (None, "bfloat16", "float64")),
            ("float64", ("float32",)),
        )
        for adapter in adapters
        for state in ("t0", "perturbed")
        for probe in (replace(WIDE, batch=ROWS), replace(SMALL, bias=False, batch=ROWS))
    )


def _answers(entry: Entry, probe: Probe) -> bool:
    """Whether the reference that rounds beside the closed form can be run under this probe."""
    built = () if entry.method is None else entry.method.built
    cannot = [at for r in built if isinstance(r, Live) for at, _, _ in r.cannot]
    return bool(built) and not any(fnmatchcase(probe.id, at) for at in cannot)


def run(trial: Trial) -> Finding:
    """Compare errors against float64 (perturbed), or identity and one stored step (t=0)."""
    if isinstance(trial.reference, ClosedForm):
        fresh = trial.probe.state == "t0"
        return _witnessed_at_t0(trial, trial.reference) if fresh else _witnessed(trial, trial.reference)
    return _at_t0(trial) if trial.probe.state == "t0" else _perturbed(trial)


def _perturbed(trial: Trial) -> Finding:
    """Output and gradients against float64, beside the reference's own error."""
    reference = trial.reference_subject()
    values = rounded(trial.state(reference), reference)
    trial.load(reference, values)
    want = run_pass(reference, trial.x, trial.cotangent)
    subject = trial.subject(values=values)
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    truth, nudged = _truth(trial, values), _truth(trial, values, nudge=torch.finfo(torch.float32).eps)
    comparisons = [*_compared(got, want, truth, nudged), *within_one_rounding(trial, values, got, truth)]
    if trial.probe.dtype == "bfloat16" and trial.probe.adapter is None and trial.probe.batch == ROWS:
        comparisons += reaches_the_output(trial, values)
    return conclude(trial.case, comparisons)


def _witnessed(trial: Trial, form: ClosedForm) -> Finding:
    """Against the closed form: the limit is what the reference's own rounding costs it, whatever it computes."""
    method = trial.entry.method
    other = None if method is None else method.witness_for(trial.probe.settings)
    assert other is not None
    beside = replace(trial, reference=other)
    reference = beside.reference_subject()
    values = rounded(beside.state(reference), reference)
    trial.load(reference, values)
    theirs, exact = run_pass(reference, trial.x, trial.cotangent), _truth(beside, values)
    eps = torch.finfo(torch.float32).eps
    truth, nudged = (
        passes(trial, form, near, x=_nudged(trial.x, by), cotangent=_nudged(trial.cotangent, by))
        for by in (0.0, eps)
        for near in ({name: _nudged(value, by) for name, value in values.items()},)
    )
    subject = trial.subject(values=values)
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    y = _moved(truth.y, theirs.y, exact.y)
    assert y is not None
    rounding = Run(
        y,
        _moved(truth.grad_x, theirs.grad_x, exact.grad_x),
        {name: _moved(truth.grads.get(name), grad, exact.grads.get(name)) for name, grad in theirs.grads.items()},
    )
    comparisons = [*_compared(got, rounding, truth, nudged), *within_one_rounding(trial, values, got, truth)]
    return conclude(trial.case, comparisons)


def _moved(truth: Tensor | None, rounded_pass: Tensor | None, exact: Tensor | None) -> Tensor | None:
    """The truth with another pass's rounding errors."""
    if truth is None or rounded_pass is None or exact is None:
        return None
    moved: Tensor = (truth + (rounded_pass.double() - exact)).to(rounded_pass.dtype)
    return moved


def _compared(got: Run, want: Run, truth: Run, nudged: Run) -> list[Comparison]:
    comparisons = [no_less_exact(got.y, want.y, truth.y, "output", nudged=nudged.y)]
    pairs = {"x": (got.grad_x, want.grad_x, truth.grad_x, nudged.grad_x)}
    pairs |= {
        name: (got.grads.get(name), grad, truth.grads[name], nudged.grads[name]) for name, grad in want.grads.items()
    }
    for name, (own, grad, exact, moved) in pairs.items():
        if own is None or grad is None:
            comparisons.append(same(own is None, grad is None, f"gradient of {name} missing"))
        else:
            assert exact is not None, f"the reference has a gradient of {name}, but none in float64"
            comparisons.append(no_less_exact(own, grad, exact, f"gradient of {name}", nudged=moved))
    return comparisons


def _witnessed_at_t0(trial: Trial, form: ClosedForm) -> Finding:
    """The same against a layer of the reference that starts where the closed form says, wherever it starts itself."""
    method, started = trial.entry.method, own_start(trial, form)
    other = None if method is None else method.witness_for(trial.probe.settings)
    assert other is not None
    assert started is not None
    beside = replace(trial, reference=other)
    reference = beside.reference_subject()
    names = reference.names.keys() | {RESIDUAL}
    trial.load(reference, {name: value for name, value in started.items() if name in names})
    return _from_the_start(trial, reference, is_identity_of(trial, form))


def _at_t0(trial: Trial) -> Finding:
    """A fresh adapter against the bare layer, and one step from there; each side from its own start."""
    return _from_the_start(trial, trial.reference_subject(), _identity(trial))


def _from_the_start(trial: Trial, reference: Subject, identity: bool) -> Finding:
    y = trial.layer().double()(trial.x.double()).detach()
    subject = trial.subject()
    comparisons: list[Comparison] = []
    want = run_pass(reference, trial.x, trial.cotangent)
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    if identity:
        comparisons.append(no_less_exact(got.y, want.y, y, "identity at t=0"))
    else:
        comparisons.append(same(got.y.dtype, want.y.dtype, "output", "dtype"))
    own, theirs = _survives(subject, got), _survives(reference, want)
    if trial.entry.promises.as_reference:  # what keeps more than the reference (g stored as g - 1) is no worse
        own = {name: theirs.get(name, word) if word == "survives" else word for name, word in own.items()}
    answered = [name for name, answer in theirs.items() if answer != NOT_FINITE]  # elsewhere it states nothing
    extra = own.keys() - theirs.keys()
    if answered or extra:
        mine = {name: own.get(name, "none") for name in (*answered, *sorted(extra))}
        comparisons.append(same(mine, {name: theirs[name] for name in answered}, f"one step of {STEP:g}"))
    storage = SHORT_DTYPES[trial.probe.adapter] if trial.probe.adapter else "default"
    p, names = trial.probe, sorted({*own, *theirs})
    facts = StepFacts(
        SHORT_DTYPES[p.dtype],
        storage,
        f"{p.d_in} -> {p.d_out}" + ("" if p.bias else ", no bias"),
        tuple(SidePair(name, own.get(name, "none"), theirs.get(name, "none")) for name in names),
    )
    return conclude(trial.case, comparisons, facts=facts)


def _identity(trial: Trial) -> bool:
    return is_identity(trial, of_reference=True)


def _truth(trial: Trial, values: dict[str, Tensor], *, nudge: float = 0.0) -> Run:
    """The reference in float64 on the same rounded numbers; ``nudge`` moves tensors, x and cotangent by that share."""
    exact = Trial(trial.entry, trial.reference, replace(trial.probe, adapter="float64"), trial.check)
    near = {name: _nudged(value, nudge) for name, value in values.items()}
    reference = exact.reference_subject(trial.layer("float64"), values=near)
    return run_pass(reference, _nudged(trial.x, nudge), _nudged(trial.cotangent, nudge))


def _nudged(t: Tensor, by: float) -> Tensor:
    return t.double() * (1 + by * signs(t.double()))


def _survives(subject: Subject, run: Run) -> dict[str, str]:
    """Per trainable tensor: does a step of ``STEP`` along the gradient's sign change the stored numbers?"""
    answers = {}
    for name, leaf in subject.leaves().items():
        grad = leaf.grad
        if grad is None or not bool((grad != 0).any()):
            answers[name] = "no gradient"
            continue
        if not bool(torch.isfinite(grad).all()):
            answers[name] = NOT_FINITE
            continue
        moved = leaf.detach() - STEP * grad.sign()
        share = (moved != leaf.detach())[grad != 0].double().mean().item()
        answers[name] = "survives" if share > 0.9 else "lost" if share < 0.1 else "partly lost"
    return answers
