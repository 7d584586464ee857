"""Does it start where the reference starts: equal constants, random values of the same distribution, the identity?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from conformance.checks.check import WIDE, with_options
from conformance.measuring.compare import EXACT_K, ROUNDED_K, Comparison, close, conclude, holds, same
from conformance.measuring.conditioning import moved_by_rounding
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.facts import InitFacts, InitialValue
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference
from refs.subject import Subject

DRAWS = 32
SIGNIFICANCE = 1e-7
"""Of the Kolmogorov-Smirnov test; the seeds are fixed, so this is no chance from run to run."""
STANDARD_ERRORS = 7.0
"""Limit of a difference of means; the seeds are fixed here too."""
SPREAD = 0.04
"""Relative tolerance on the standard deviation over all draws (8192 and more numbers); 2.5 times it at the edge."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Fresh adapters in three sizes and under every option set; closed forms that determine the start too."""
    if isinstance(reference, ClosedForm) and reference.start is None:
        return ()
    plain = replace(WIDE, state="t0", dtype="float32", adapter=None)
    return (
        plain,
        replace(plain, alpha=8.0, bias=False),
        # Sizes of which no simple ratio is a rank, so that one cannot stand in for the other.
        replace(plain, d_in=30, d_out=28, r=6),
        *with_options(entry, plain),
        *([] if _rounded_by_design(entry, reference) else [replace(plain, dtype="float64", adapter="float64")]),
    )


def _rounded_by_design(entry: Entry, reference: Reference) -> bool:
    """Whether the start is decomposed in float32, by the reference too, or is compared in float32 alone."""
    assert entry.method is not None
    data = entry.build_stack is not None
    return data or entry.method.replaces_weight or isinstance(reference, ClosedForm)


def run(trial: Trial) -> Finding:
    """Compare constants by value, random values by distribution over the draws, and the identity."""
    mine, other = _draws(trial, range(2))
    if isinstance(trial.reference, ClosedForm):
        return conclude(trial.case, _against_closed(trial, trial.reference, mine[0]))
    exact = trial.probe.dtype == "float64"  # then only what is not drawn is compared: the draws were, in float32
    if not exact and any((draws[0][name] != draws[1][name]).any() for draws in (mine, other) for name in draws[0]):
        more = _draws(trial, range(2, DRAWS))
        mine, other = mine + more[0], other + more[1]
    comparisons: list[Comparison] = []
    kinds: dict[str, str] = {}
    moves = _moves(trial)
    for name in other[0]:
        if name not in mine[0]:
            comparisons.append(same("no such tensor", name, name))
            continue
        got, want = (torch.stack([draw[name] for draw in draws]) for draws in (mine, other))
        random = bool((want[0] != want[1]).any())
        if exact and random:
            continue
        kinds[name] = (
            "random"
            if random
            else "constant"
            if bool((want == want.reshape(-1)[0]).all())
            else "determined by weight or data"
        )
        method = trial.entry.method
        stored = method is None or method.sign_free is None
        scale = 0.0 if kinds[name] == "constant" and stored else None
        if name in moves:
            scale = want.abs().max().item() + moves[name] / (ROUNDED_K * torch.finfo(torch.float32).eps)
        comparisons += _distribution(name, got, want) if random else [close(got, want, f"{name} at t=0", scale=scale)]
    with asking_the_subject():
        own = is_identity(trial)
    theirs = is_identity(trial, of_reference=True)
    comparisons.append(holds(own or not theirs, "identity at t=0", f"identity: {own}", f"identity: {theirs}"))
    facts = InitFacts(tuple(InitialValue(*item) for item in kinds.items()), own, theirs)
    return conclude(trial.case, comparisons, facts=facts)


def _moves(trial: Trial) -> dict[str, float]:
    """For a start that is decomposed: how far the reference's moves with the last digits of the weight or the data."""
    method, on_data = trial.entry.method, trial.probe.settings.option("calibration", None) is not None
    if method is None or not (method.replaces_weight or on_data):
        return {}
    return moved_by_rounding(trial, lambda subject: _initial(trial, subject), on_data=on_data)


def _initial(trial: Trial, subject: Subject) -> dict[str, Tensor]:
    values = subject.values()
    return _sign_free(trial, {**values, RESIDUAL: subject.base.weight.detach()}, tuple(values))


def _draws(trial: Trial, seeds: range) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """The initial tensors of both sides under each seed; a closed form is not drawn."""
    mine = [_initial(trial, trial.subject(seed=n)) for n in seeds]
    if isinstance(trial.reference, ClosedForm):
        return mine, []
    return mine, [_initial(trial, trial.reference_subject(seed=n)) for n in seeds]


def _sign_free(trial: Trial, values: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """The initial tensors, in terms that do not depend on the signs a decomposition happens to return."""
    method = trial.entry.method
    if method is None or method.sign_free is None:
        return {name: values[name] for name in names}
    return method.sign_free(values, trial.probe.settings)


def _against_closed(trial: Trial, form: ClosedForm, mine: dict[str, Tensor]) -> list[Comparison]:
    """What follows from the weight or the data alone, computed anew in float64."""
    assert form.start is not None
    started = form.start(trial.layer("float64").weight.detach().numpy(), trial.probe.settings)
    values = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in started.items()}
    wanted = _sign_free(trial, values, tuple(values))
    return [
        close(mine[name].double().float(), want.float(), f"{name} at t=0") if name in mine else same(None, name, name)
        for name, want in wanted.items()
    ]


def _distribution(name: str, got: Tensor, want: Tensor) -> list[Comparison]:
    n = got.numel() + want.numel()
    a, b = got.double().numpy().ravel(), want.double().numpy().ravel()
    if a.size != b.size:
        return [same(tuple(got.shape[1:]), tuple(want.shape[1:]), name, "shape")]
    gap, limit = kolmogorov_smirnov(a, b)
    return [
        same(str(got.dtype), str(want.dtype), name, "dtype"),
        Comparison(
            name,
            n,
            gap <= limit,
            gap,
            limit,
            got=f"std {a.std():.4g}",
            want=f"std {b.std():.4g}",
            numeric=True,
            aspect="distribution at t=0",
        ),
        _within(name, "spread at t=0", a.std(), b.std(), SPREAD),
        _mean(name, a, b),
        *_together(name, got, want),
        _within(name, "largest value at t=0", _edge(a), _edge(b), 2.5 * SPREAD),
        # Vectors that repeat (as HRA's pairs do) have the same distribution and another meaning; so has their order.
        _within(name, "share of distinct values at t=0", _distinct(got), _distinct(want), 0.02),
        same(_repeats(got[0]), _repeats(want[0]), name, "which rows or columns repeat at t=0"),
        holds(
            bool((got[0] != got[1]).any()), name, "the same for two seeds", "a new draw", aspect="depends on the seed"
        ),
    ]


def _within(name: str, aspect: str, got: float, want: float, tolerance: float) -> Comparison:
    error = abs(got - want)
    limit = tolerance * abs(want)
    told = (f"{got:.4g}", f"{want:.4g}")
    return Comparison(name, 1, error <= limit, error, limit, "", *told, numeric=True, aspect=aspect)


def _mean(name: str, a: np.ndarray, b: np.ndarray) -> Comparison:
    error = abs(a.mean() - b.mean())
    # Values that stand several times (HRA's pairs) count once.
    counts = (len(np.unique(v)) for v in (a, b))
    limit = STANDARD_ERRORS * b.std() * sum(1 / n for n in counts) ** 0.5
    told = (f"{a.mean():.2g}", f"{b.mean():.2g}")
    return Comparison(name, a.size, error <= limit, error, limit, "", *told, numeric=True, aspect="mean at t=0")


def _edge(a: np.ndarray) -> float:
    """Where all but a thousandth of the values end: the bound of a uniform distribution, stable for a normal one."""
    return float(np.quantile(np.abs(a), 0.999))


def _distinct(draws: Tensor) -> float:
    return float(np.mean([len(np.unique(draw.double().numpy())) / draw.numel() for draw in draws]))


def _repeats(draw: Tensor) -> list[str]:
    """Which rows (and slices of the other dimensions) repeat an earlier one: ``1 as 0 in dimension 0``."""
    found = []
    for dim in range(draw.dim()):
        first: dict[bytes, int] = {}
        for i, part in enumerate(draw.unbind(dim)):
            before = first.setdefault(part.double().numpy().tobytes(), i)
            if before != i:
                found.append(f"{i} as {before} in dimension {dim}")
    return found


def _together(name: str, got: Tensor, want: Tensor) -> list[Comparison]:
    """Whether rows, and columns, of a matrix hang together as the reference's do: mean cosine over the draws."""
    if got.dim() != 3:
        return []
    comparisons = []
    for side, (mine, other) in (("rows", (got, want)), ("columns", (got.mT, want.mT))):
        cosines = [_cosines(t).mean(0) for t in (mine.double(), other.double())]
        scatter = (2 / (len(got) * mine.shape[-1])) ** 0.5
        gap = (cosines[0] - cosines[1]).abs().max().item()
        limit = STANDARD_ERRORS * scatter
        told = (f"cosine off by {gap:.2g}", f"{limit:.2g}")
        aspect = f"{side} at t=0 together"
        comparisons.append(
            Comparison(name, got.numel(), gap <= limit, gap, limit, "", *told, numeric=True, aspect=aspect)
        )
    return comparisons


def _cosines(t: Tensor) -> Tensor:
    unit: Tensor = t / t.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    cosines: Tensor = unit @ unit.mT
    return cosines


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Two-sample statistic (largest gap of the empirical distributions) and its limit at ``SIGNIFICANCE``."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    gap = np.abs(np.searchsorted(a, at, "right") / a.size - np.searchsorted(b, at, "right") / b.size).max()
    return float(gap), float(np.sqrt(-np.log(SIGNIFICANCE / 2) / 2 * (a.size + b.size) / (a.size * b.size)))


def is_identity(trial: Trial, *, of_reference: bool = False) -> bool:
    """Whether a fresh adapter leaves the base's output alone, in float64."""
    exact = replace(trial.probe, dtype="float64", adapter="float64")
    trial = Trial(trial.entry, trial.reference, exact, trial.check)
    adapted: Subject = trial.reference_subject() if of_reference else trial.subject()
    y = trial.layer()(trial.x)
    gap = (adapted(trial.x) - y).abs().max().item()
    return bool(gap <= EXACT_K * torch.finfo(torch.float64).eps * y.abs().max().item())
