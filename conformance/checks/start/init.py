"""Are the initial values the reference's: equal constants, random values of the same distribution, the identity?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conformance.checks.check import DROPOUT, WIDE, with_options
from conformance.checks.start.distribution import DISTINCT, distinct, distribution
from conformance.checks.start.half import Truth, alone, rounded_once
from conformance.checks.start.joint import jointly
from conformance.measuring.compare import EXACT_K, ROUNDED_K, Comparison, close, conclude, holds, same
from conformance.measuring.conditioning import NUDGE, moved_by_rounding
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.measuring.witness import own_start
from conformance.nouns.entry import Entry
from conformance.nouns.facts import InitFacts, InitialValue
from conformance.nouns.finding import Drawn, Finding
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Float64
from conformance.space.points import option_pairs
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

DRAWS = 32
QUANTILES = 33
"""Of a random tensor, for the figure."""
HALF = ("bfloat16", "float16")


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Fresh adapters in three sizes and under every option set; closed forms that determine the start too."""
    if isinstance(reference, ClosedForm) and reference.start is None and reference.draw is None:
        return ()
    plain = replace(WIDE, state="t0", dtype="float32", adapter=None)
    exact = replace(plain, dtype="float64", adapter="float64")
    asked = (
        plain,
        replace(plain, alpha=8.0, bias=False),
        # Sizes of which no simple ratio is a rank, so that one cannot stand in for the other.
        replace(plain, d_in=30, d_out=28, r=6),
        *with_options(entry, plain),
        *option_pairs(entry, reference, plain),
        *_in_half_precision(plain, reference),
        *([] if isinstance(reference, ClosedForm) and reference.draw is None else [exact]),
    )
    return tuple(p for p in asked if not isinstance(reference, ClosedForm) or reference.tells(p.settings))


def _in_half_precision(plain: Probe, reference: Reference) -> tuple[Probe, ...]:
    """On a layer of half precision. Of data the sides get other digits."""
    silent = isinstance(reference, ClosedForm) and reference.draw is None
    if silent or "calibration" in dict(reference.options):
        return ()
    return tuple(replace(plain, dtype=dtype) for dtype in HALF)


def _rounded_by_design(entry: Entry) -> bool:
    """Whether the start is decomposed in float32, by the reference too: then float64 is asked of constants alone."""
    assert entry.method is not None
    return entry.build_stack is not None or entry.method.replaces_weight


def run(trial: Trial) -> Finding:
    """Compare constants by value, random values by distribution over the draws, and the identity."""
    mine, other = _draws(trial, range(2))
    form = trial.reference if isinstance(trial.reference, ClosedForm) else None
    if form is not None and form.draw is None:
        return conclude(trial.case, _against_closed(trial, form, mine[0]))
    exact = trial.probe.dtype == "float64"  # then only what is not drawn is compared: the draws were, in float32
    if not exact and any((draws[0][name] != draws[1][name]).any() for draws in (mine, other) for name in draws[0]):
        more = _draws(trial, range(2, DRAWS))
        mine, other = mine + more[0], other + more[1]
    comparisons: list[Comparison] = []
    kinds: dict[str, str] = {}
    drawn: dict[str, tuple[Tensor, Tensor]] = {}
    half = trial.probe.dtype in HALF
    moves = {} if half else _moves(trial)
    truth = Truth(trial, _initial) if half and form is None else None
    unrounded, nudged = (_unrounded(trial, form, by) if half else {} for by in (0.0, torch.finfo(torch.float32).eps))
    for name in other[0]:
        if name not in mine[0]:
            comparisons.append(same("no such tensor", name, name))
            continue
        got, want = (torch.stack([draw[name] for draw in draws]) for draws in (mine, other))
        random = bool((want[0] != want[1]).any())
        constant = not random and bool((want == want.reshape(-1)[0]).all())
        if exact and (random or (not constant and _rounded_by_design(trial.entry))):
            continue
        kinds[name] = "random" if random else "constant" if constant else "determined by weight or data"
        method = trial.entry.method
        stored = method is None or method.sign_free is None
        scale = 0.0 if kinds[name] == "constant" and stored else None
        if name in moves:
            scale = want.abs().max().item() + moves[name] / (ROUNDED_K * torch.finfo(torch.float32).eps)
        if form is not None and (random or kinds[name] == "constant"):
            want = want.to(_stored(trial))
        if random:
            drawn[name] = got, want
            comparisons += [c for c in distribution(name, got, want) if not (half and _finer(c, got, want))]
        elif half and kinds[name] != "constant":
            if truth is None:
                # W_res is stored in the layer's dtype.
                exact_start, moved_start = (start[name].double().expand_as(want) for start in (unrounded, nudged))
                comparisons.append(rounded_once(trial, name, got.float(), exact_start))
                comparisons.append(alone(name, got, exact_start, moved_start))
                continue
            comparisons.append(truth.compare(name, got, want))
            if not trial.entry.promises.as_reference:
                comparisons.append(truth.alone(name, got))
        else:
            comparisons.append(close(got, want, f"{name} at t=0", scale=scale))
    comparisons += jointly({n: pair[0] for n, pair in drawn.items()}, {n: pair[1] for n, pair in drawn.items()})
    theirs = is_identity(trial, of_reference=True) if form is None else is_identity_of(trial, form)
    own, identity = _identity(trial, theirs, "identity at t=0")
    comparisons.append(replace(identity, exact=trial.entry.promises.float64 is Float64.EXACT))
    comparisons += _identity_under_dropout(trial)
    facts = InitFacts(tuple(InitialValue(*item) for item in kinds.items()), own, theirs)
    shown = tuple(Drawn(name, _quantiles(got), _quantiles(want)) for name, (got, want) in drawn.items())
    return replace(conclude(trial.case, comparisons, facts=facts), drawn=shown)


def _quantiles(draws: Tensor) -> tuple[float, ...]:
    """``QUANTILES`` of them in four digits, from the least to the largest value."""
    ordered = draws.double().flatten().sort().values
    places = torch.linspace(0, len(ordered) - 1, QUANTILES, dtype=torch.float64).round().long()
    return tuple(float(f"{value:.3e}") for value in ordered[places].tolist())


def _stored(trial: Trial) -> torch.dtype:
    """The dtype that is asked of the tensors; that of a layer's adapters by default."""
    dtype = torch.float32 if trial.probe.adapter is None else getattr(torch, trial.probe.adapter)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _finer(comparison: Comparison, got: Tensor, want: Tensor) -> bool:
    """Draws that the reference rounds to the layer's dtype and the subject does not: more values, no more repeats."""
    return comparison.aspect == DISTINCT and distinct(got) >= distinct(want)


def _moves(trial: Trial) -> dict[str, float]:
    """For a start that is decomposed: how far the reference's moves with the last digits of the weight or the data."""
    method, on_data = trial.entry.method, trial.probe.settings.option("calibration", None) is not None
    if method is None or not (method.replaces_weight or on_data):
        return {}
    if isinstance(method.main, ClosedForm):  # a formula alone: no layer's start can be moved
        eps = NUDGE * torch.finfo(torch.float32).eps
        start, moved = (sign_free(trial, own_start(trial, method.main, nudge=by) or {}) for by in (0.0, eps))
        return {name: (value - moved[name]).abs().max().item() for name, value in start.items()}
    layered = replace(trial, reference=method.main) if isinstance(trial.reference, ClosedForm) else trial
    return moved_by_rounding(layered, lambda subject: _initial(trial, subject), on_data=on_data)


def _initial(trial: Trial, subject: Subject) -> dict[str, Tensor]:
    values = subject.values()
    return sign_free(trial, {**values, RESIDUAL: subject.base.weight.detach()}, values)


def _draws(trial: Trial, seeds: range) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """The initial tensors of both sides under each seed; a closed form is not drawn."""
    mine = [_initial(trial, trial.subject(seed=n)) for n in seeds]
    if isinstance(trial.reference, ClosedForm):
        return mine, _numpy_draws(trial, trial.reference, seeds)
    return mine, [_initial(trial, trial.reference_subject(seed=n)) for n in seeds]


def _numpy_draws(trial: Trial, form: ClosedForm, seeds: range) -> list[dict[str, Tensor]]:
    """The closed form's own draws, in the dtype that the layer's adapters have by default."""
    drawn = [own_start(trial, form, n) for n in seeds] if form.draw is not None else []
    dtype = _stored(trial)
    return [sign_free(trial, {n: v.to(dtype) for n, v in values.items()}) for values in drawn if values is not None]


def _unrounded(trial: Trial, form: ClosedForm | None, nudge: float) -> dict[str, Tensor]:
    """The form's start in float64, of a weight that is ``nudge`` away."""
    values = None if form is None else own_start(trial, form, nudge=nudge)
    return {} if values is None else sign_free(trial, values)


def is_identity_of(trial: Trial, form: ClosedForm) -> bool:
    """Whether the closed form's start leaves W alone, up to the float32 of its draws."""
    drawn = own_start(trial, form)
    assert drawn is not None
    W = trial.layer("float64").weight.detach().numpy()
    start = {name: value.float().double().numpy() for name, value in drawn.items()}
    weight, _ = form.effective(start, start.pop(RESIDUAL, W), 0 * W[:, 0], trial.probe.settings)
    return bool(np.abs(weight - W).max() <= ROUNDED_K * torch.finfo(torch.float32).eps * np.abs(W).max())


def sign_free(trial: Trial, values: Mapping[str, Tensor], names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """The initial tensors (all, or those named), in terms that do not depend on the signs of a decomposition."""
    method = trial.entry.method
    if method is None or method.sign_free is None:
        return {name: values[name] for name in (values if names is None else names)}
    return method.sign_free(values, trial.probe.settings)


def _against_closed(trial: Trial, form: ClosedForm, mine: dict[str, Tensor]) -> list[Comparison]:
    """What follows from the weight or the data alone, computed anew in float64."""
    started = own_start(trial, form)
    assert started is not None
    wanted = sign_free(trial, started)
    return [
        close(mine[name].double().float(), want.float(), f"{name} at t=0") if name in mine else same(None, name, name)
        for name, want in wanted.items()
    ]


def _identity(trial: Trial, theirs: bool, what: str) -> tuple[bool, Comparison]:
    """Whether the fresh subject is the identity, and the statement that it is wherever the reference is."""
    with asking_the_subject():
        gap, limit = from_identity(trial)
    own = gap <= limit
    stated = holds(own or not theirs, what, f"identity: {own}", f"identity: {theirs}")
    return own, stated if stated.agrees else replace(stated, error=gap, limit=limit)


def _identity_under_dropout(trial: Trial) -> list[Comparison]:
    """In training with dropout the layer may be the identity, whatever is dropped: one mask for what cancels."""
    p = trial.probe
    if not trial.entry.has_dropout or isinstance(trial.reference, ClosedForm) or p.dtype != "float32":
        return []
    drops = replace(trial, probe=replace(p, training=True).under(dropout=DROPOUT))
    if not trial.reference.covers(drops.probe.settings) or not is_identity(drops, of_reference=True):
        return []
    return [_identity(drops, True, "identity at t=0 under dropout")[1]]


def is_identity(trial: Trial, *, of_reference: bool = False) -> bool:
    """Whether a fresh adapter leaves the base's output alone."""
    gap, limit = from_identity(trial, of_reference=of_reference)
    return gap <= limit


def from_identity(trial: Trial, *, of_reference: bool = False) -> tuple[float, float]:
    """How far a fresh adapter moves the base's output, and the limit, in float64 where the subject computes in it."""
    precision = "float64" if trial.entry.promises.float64 is Float64.EXACT else "float32"
    exact = replace(trial.probe, dtype=precision, adapter=precision)
    trial = Trial(trial.entry, trial.reference, exact, trial.check)
    adapted: Subject = trial.reference_subject() if of_reference else trial.subject()
    y = trial.layer()(trial.x)
    gap = (adapted(trial.x) - y).abs().max().item()
    rounding = EXACT_K * torch.finfo(torch.float64).eps if precision == "float64" else ROUNDED_K * 2**-23
    return gap, rounding * y.abs().max().item()
