"""The one place where two tensors meet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conformance.nouns.facts import Facts
from conformance.nouns.finding import RAISED, Compared, Fault, Finding, Outcome, Severity

EXACT_K = 4096
"""Limit of the float64 comparisons in units of eps * scale: 9.1e-13 relative."""

ROUNDED_K = 16
"""The same in a lower precision, where only stored values are compared this way: 1.9e-6 relative in float32."""

BARE_EPS_SHARE = 0.35
LOW_PRECISION_FACTOR = 1.5
"""In low precision the root-mean-square error may be this many times the reference's own, plus ``BARE_EPS_SHARE`` of a
spacing of the output dtype (rounding once to it costs up to 0.29). In float32, where sums in another order differ by
more than a spacing, it is ``ROUNDED_K`` spacings."""

INSIDE_FACTOR = 2.0
"""The same for a float32 result that the reference takes through half precision inside (its error is ``INSIDE``
spacings and more): how often a number is rounded there depends on the order of the operations, and two roundings more
than the reference's one make 1.7 of its error."""
INSIDE = 256


ONCE_FACTOR = 1.25
"""What is computed in float32 and rounded at the end may have this many times the error of that rounding alone."""

FLOAT32_ROOM = ROUNDED_K * torch.finfo(torch.float32).eps / (EXACT_K * torch.finfo(torch.float64).eps)
"""How many times the limit of a float64 comparison the one in float32 is: what differs by less differs in float64 only.
It decides how a difference is named, never whether there is one."""

FAR_WITHIN = 0.25
"""Of a limit: an error so small agrees on another machine, too."""
FEW = 4.0
"""A root mean square over n numbers scatters: the factor and the share grow by ``FEW`` / sqrt(n)."""


@dataclass(frozen=True)
class Comparison:
    """Two compared things: how many numbers, the worst error, its limit and its place."""

    what: str
    n: int
    agrees: bool
    error: float = 0.0
    limit: float = 0.0
    where: str = ""
    got: str = ""
    want: str = ""
    numeric: bool = False
    """Whether got and want are measured figures, which differ a little from machine to machine."""
    exact_bound: bool = False
    """Whether the limit is what exact arithmetic allows (half a spacing, for a number rounded once): reaching it is no
    sign of a narrow escape."""
    nans: int = 0
    """How many were NaN (in low precision: not finite) on both sides at the same place, and so not compared."""
    exact: bool = False
    """Whether it was compared with the limit of float64."""
    aspect: str = ""
    """Which aspect of ``what`` was compared, if not its values: ``shape``, ``dtype``, ``mean at t=0``."""

    @property
    def compared(self) -> Compared:
        """What was compared, with its aspect."""
        return Compared(self.what, self.aspect)

    @property
    def badness(self) -> float:
        """How far beyond the limit, for picking the one to report."""
        if self.agrees:
            return -1.0
        share = self.error / self.limit if self.limit else float("inf")
        return share if share == share else float("inf")

    @property
    def order(self) -> tuple[bool, float]:
        """For picking the one to report: a number that is off tells more than a flag, and a larger one more."""
        return self.numeric and not self.agrees, self.badness


def close(got: Tensor | None, want: Tensor | None, what: str, *, scale: float | None = None) -> Comparison:
    """Equal up to ``EXACT_K * eps * scale`` (``ROUNDED_K`` below float64). ``scale``: largest ``|want|`` unless given.

    Shapes and dtypes must be equal. A NaN agrees only with a NaN at the same place, and infinities with themselves.
    """
    if got is None or want is None:
        return same(None if got is None else "a tensor", None if want is None else "a tensor", what)
    if got.shape != want.shape:
        return same(tuple(got.shape), tuple(want.shape), what, "shape")
    if got.dtype != want.dtype:
        return same(str(got.dtype), str(want.dtype), what, "dtype")
    if want.numel() == 0:
        return Comparison(what, 0, True)
    rounding = (EXACT_K if want.dtype == torch.float64 else ROUNDED_K) * torch.finfo(want.dtype).eps
    got, want = got.detach().double(), want.detach().double()
    finite = torch.isfinite(want)
    if scale is None:
        scale = want[finite].abs().max().item() if finite.any() else 0.0
    limit = rounding * scale
    gap = (got - want).abs()
    both_nan = got.isnan() & want.isnan()
    gap[(got == want) | both_nan] = 0
    gap[gap.isnan()] = float("inf")
    index = int(gap.argmax())
    error = gap.reshape(-1)[index].item()
    nans = int(both_nan.sum())
    return Comparison(
        what,
        want.numel() - nans,
        error <= limit,
        error,
        limit,
        _place(index, want.shape),
        f"{got.reshape(-1)[index].item():.6g}",
        f"{want.reshape(-1)[index].item():.6g}",
        numeric=True,
        exact=limit > 0 and rounding < torch.finfo(torch.float32).eps,
        nans=nans,
    )


def far_within(comparison: Comparison) -> bool:
    """Whether it would agree on another machine, too: then nobody needs to know how well it is conditioned."""
    return comparison.agrees and comparison.error <= FAR_WITHIN * comparison.limit


def rounded_once(got: Tensor, once: Tensor, truth: Tensor, what: str) -> Comparison:
    """``got`` is as near to the float64 ``truth`` as ``once`` is: the truth, rounded as often as it cannot be helped.

    An absolute limit: what no reference knows. Both round the same numbers, so that little is left to chance.
    """
    if got.dtype != once.dtype or got.shape != truth.shape:
        return same((str(got.dtype), tuple(got.shape)), (str(once.dtype), tuple(truth.shape)), what, "dtype")
    known = torch.isfinite(got) & torch.isfinite(once)
    own, least = (_rms(t[known].double() - truth[known]) for t in (got, once))
    room = ROUNDED_K * torch.finfo(torch.float32).eps * _rms(truth[known])
    limit = (ONCE_FACTOR + max(1, len(truth[known])) ** -0.5) * least + room
    told = f"error {own:.2g}", f"at most {limit:.2g} (rounded once {least:.2g})"
    return Comparison(what, int(known.sum()), own <= limit, own, limit, got=told[0], want=told[1], numeric=True)


def no_less_exact(got: Tensor, other: Tensor, truth: Tensor, what: str, *, nudged: Tensor | None = None) -> Comparison:
    """``got`` is about as near to the float64 ``truth`` as the reference's ``other`` is (root mean square errors).

    Numbers that are not finite have no error: they must be the reference's own, at the same places. Where ``got`` is
    finite and the reference is not, it is compared with the truth like the rest, within the error of that rest.

    ``nudged``: the truth for inputs and tensors that are one rounding of float32 away. In float32 that move counts as a
    spacing where it is the larger one: of a sum that cancels, no order of summation knows more. A float64 tensor beside
    a float32 layer has the room of the float64 comparisons.
    """
    if got.dtype != other.dtype:
        return same(str(got.dtype), str(other.dtype), what, "dtype")
    if got.shape != truth.shape:
        return same(tuple(got.shape), tuple(truth.shape), what, "shape")
    wild, known = _not_finite(got), _not_finite(other)
    if not wild.items() <= known.items():
        return holds(False, what, _brief(wild), _brief(known), aspect="numbers that are not finite")
    finite, answered = torch.isfinite(got), torch.isfinite(other)
    nans = got.numel() - int(finite.sum())
    if nans == got.numel():
        return Comparison(what, 0, True, nans=nans)
    theirs = _rms(other[answered].double() - truth[answered]) if answered.any() else 0.0
    got, truth = got[finite], truth[finite]
    eps = torch.finfo(got.dtype).eps
    own, spacing = _rms(got.double() - truth), eps * _rms(truth)
    if nudged is not None and got.dtype == torch.float32:
        spacing = max(spacing, _rms(nudged[finite] - truth))
    share = {torch.float64: EXACT_K, torch.float32: ROUNDED_K}.get(got.dtype, BARE_EPS_SHARE)
    scatter = FEW / len(truth) ** 0.5
    inside = got.dtype == torch.float32 and theirs > INSIDE * spacing
    limit = ((INSIDE_FACTOR if inside else LOW_PRECISION_FACTOR) + scatter) * theirs + (share + scatter) * spacing
    return Comparison(
        what,
        got.numel(),
        own <= limit,
        own,
        limit,
        got=f"error {own:.2g}",
        want=f"at most {limit:.2g} (reference {theirs:.2g})",
        numeric=True,
        exact=got.dtype == torch.float64,
        nans=nans,
    )


def same(got: Any, want: Any, what: str, aspect: str = "") -> Comparison:
    """Equality of plain values: shapes, dtypes, flags, names."""
    return Comparison(what, 1, got == want, got=without_addresses(got), want=without_addresses(want), aspect=aspect)


def holds(ok: bool, what: str, got: str, want: str, *, n: int = 1, aspect: str = "") -> Comparison:
    """A statement about one side that must be true."""
    return Comparison(what, n, ok, got=got, want=want, aspect=aspect)


def conclude(
    case: str,
    comparisons: Iterable[Comparison],
    *,
    facts: Facts | None = None,
    severity: Severity = Severity.MUST_FIX,
    fault: Fault = Fault.SUBJECT,
    explained: str = "",
) -> Finding:
    """One finding out of many comparisons: AGREE if all do, else the worst one's details and the names of the others.

    ``explained``: the residual in words, where the check found it to be of a known form.
    """
    comparisons = list(comparisons)
    worst = max(comparisons, key=lambda c: c.order, default=None)
    if worst is None:
        return Finding(case, Outcome.AGREE, 0, facts=facts)
    if worst.agrees:
        # Report the tightest squeeze, so that the raw evidence shows how near to its limit an agreement was.
        worst = max(comparisons, key=lambda c: c.error / c.limit if c.limit and not c.exact_bound else 0.0)
    wrong = sorted((c for c in comparisons if not c.agrees), key=lambda c: c.order, reverse=True)
    return Finding(
        case,
        Outcome.AGREE if all(c.agrees for c in comparisons) else Outcome.DIFFER,
        sum(c.n for c in comparisons),
        str(worst.compared),
        _finite(worst.error),
        _finite(worst.limit),
        worst.where,
        worst.got,
        worst.want,
        worst.numeric,
        fault,
        severity,
        facts,
        asked=tuple(sorted({c.compared for c in comparisons})),
        differing=tuple(sorted({c.compared for c in comparisons if not c.agrees})),
        nans=sum(c.nans for c in comparisons),
        exact_bound=worst.exact_bound,
        float32_would_agree=bool(wrong) and all(c.exact and c.error <= FLOAT32_ROOM * c.limit for c in wrong),
        others=tuple(dict.fromkeys(str(c.compared) for c in wrong if c.compared != worst.compared)),
        explained=explained if wrong else "",
    )


def raised(case: str, why: str, *, expected: str = "the reference returned a value") -> Finding:
    """The finding about a subject that raised where a value was expected; ``expected`` says why it was."""
    told = (RAISED,)
    return Finding(case, Outcome.DIFFER, 1, str(RAISED), got=why, want=expected, asked=told, differing=told)


def without_addresses(thing: object) -> str:
    """In words, without the addresses in memory that differ from run to run."""
    return re.sub(r"\b0x[0-9a-f]+\b", "0x...", str(thing))


def _finite(x: float) -> float:
    return x if x < float("inf") else 1e308


def _rms(t: Tensor) -> float:
    return t.double().square().mean().sqrt().item()


def _not_finite(t: Tensor) -> dict[int, str]:
    """``nan``, ``inf`` or ``-inf`` by flat index."""
    flat = t.detach().double().reshape(-1)
    return {i: str(flat[i].item()) for i in (~torch.isfinite(flat)).nonzero().reshape(-1).tolist()}


def _brief(places: dict[int, str]) -> str:
    first = next(iter(places.items()), None)
    return f"{len(places)}, the first {first[1]} at {first[0]}" if first else "none"


def _place(index: int, shape: torch.Size) -> str:
    place = []
    for size in reversed(shape):
        index, here = divmod(index, size)
        place.append(here)
    return str(list(reversed(place)))
