"""Are the initial values the reference's: equal constants, random values of the same distribution, the identity?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import WIDE, with_options
from conformance.checks.start.distribution import DISTINCT, STEPS, TELLING, by_chance, distinct, distribution
from conformance.checks.start.half import Truth, alone, rounded_once
from conformance.checks.start.identity import identity, identity_under_dropout, is_identity, is_identity_of
from conformance.checks.start.joint import jointly
from conformance.measuring.compare import ROUNDED_K, Comparison, close, conclude, far_within, same
from conformance.measuring.conditioning import NUDGE, PATTERNS, farthest, moved_by_rounding
from conformance.measuring.trial import RESIDUAL, Trial
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
    moves: dict[str, float] | None = {} if half else None
    truth = Truth(trial, _initial) if half and form is None else None
    unrounded = _unrounded(trial, form, 0.0) if half else {}
    nudged = [_unrounded(trial, form, torch.finfo(torch.float32).eps, pattern) for pattern in PATTERNS if half]
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
        if form is not None and (random or kinds[name] == "constant"):
            want = want.to(_stored(trial))
        if random:
            drawn[name] = got, want
            comparisons += _same_distribution(trial, name, got, want)
        elif half and kinds[name] != "constant":
            if truth is None:
                # W_res is stored in the layer's dtype.
                exact_start = unrounded[name].double().expand_as(want)
                moved_start = farthest(unrounded[name], (start[name] for start in nudged)).double().expand_as(want)
                comparisons.append(rounded_once(trial, name, got.float(), exact_start))
                comparisons.append(alone(name, got, exact_start, moved_start))
                continue
            comparisons.append(truth.compare(name, got, want))
            if not trial.entry.promises.as_reference:
                comparisons.append(truth.alone(name, got))
        else:
            value = close(got, want, f"{name} at t=0", scale=scale)
            if not far_within(value) and kinds[name] != "constant":
                moves = _moves(trial) if moves is None else moves
                if name in moves:
                    room = moves[name] / (ROUNDED_K * torch.finfo(torch.float32).eps)
                    value = close(got, want, f"{name} at t=0", scale=want.abs().max().item() + room)
            comparisons.append(value)
    comparisons += jointly({n: pair[0] for n, pair in drawn.items()}, {n: pair[1] for n, pair in drawn.items()})
    theirs = is_identity(trial, of_reference=True) if form is None else is_identity_of(trial, form)
    own, stated = identity(trial, theirs, "identity at t=0")
    comparisons.append(replace(stated, exact=trial.entry.promises.float64 is Float64.EXACT))
    comparisons += identity_under_dropout(trial)
    facts = InitFacts(tuple(InitialValue(*item) for item in kinds.items()), own, theirs)
    shown = tuple(Drawn(name, _quantiles(got), _quantiles(want)) for name, (got, want) in drawn.items())
    return replace(conclude(trial.case, comparisons, facts=facts), drawn=shown)


def _same_distribution(trial: Trial, name: str, got: Tensor, want: Tensor) -> list[Comparison]:
    """Over the draws that there are; over more, step by step, while chance may be what differs."""
    told = distribution(name, got, want)
    left_open = by_chance(told, got.numel())
    for n in STEPS if left_open else ():
        more = _draws(trial, range(len(got), n))
        got, want = (
            torch.cat([first, torch.stack([draw[name].to(first.dtype) for draw in side])])
            for first, side in zip((got, want), more)
        )
        told = distribution(name, got, want)
        agree = all(c.agrees for c in told)
        if (agree and got.numel() >= TELLING) or (not agree and not by_chance(told, got.numel())):
            break
    half = trial.probe.dtype in HALF
    return [c for c in told if not (half and _finer(c, got, want))]


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
        start = sign_free(trial, own_start(trial, method.main) or {})
        others = [
            sign_free(trial, own_start(trial, method.main, nudge=eps, pattern=pattern) or {}) for pattern in PATTERNS
        ]
        return {name: max((v - moved[name]).abs().max().item() for moved in others) for name, v in start.items()}
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


def _unrounded(trial: Trial, form: ClosedForm | None, nudge: float, pattern: int = 1) -> dict[str, Tensor]:
    """The form's start in float64, of a weight that is ``nudge`` away."""
    values = None if form is None else own_start(trial, form, nudge=nudge, pattern=pattern)
    return {} if values is None else sign_free(trial, values)


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
