"""Tables of the card: what was compared with what, what is not covered, what one step does in each dtype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.nouns.facts import StepFacts
from conformance.reporting.state import State, state_of, tally
from conformance.reporting.view import WAYS, CardView
from refs.reference import Live, Recorded, Reference, Transcribed

NOT_AGAINST_THE_REFERENCE: dict[str, str] = {
    "references": "the lock: hashes of the reference's source, and the form of its links",
    "refusals": "the untouched layer",
    "promises": "what the entry says of its limits",
    "detach": "the layer before the adapter came",
    "checkpoint": "the adapter that was saved",
    "several_layers": "each layer alone",
    "coexistence": "each adapter alone on its layer",
    "execution_modes": "the same adapter called plainly (autocast, cast to half precision: the reference)",
}
"""Checks whose baseline is not the reference that their cases name, and what it is."""


@dataclass(frozen=True)
class Baseline:
    """A line of the table of what was compared with what."""

    name: str
    what: str
    n: int
    result: str


@dataclass(frozen=True)
class Steps:
    """The configurations of dtypes in which a step has the same result."""

    where: str
    subject: str
    reference: str


NO_LAYER = "how it rounds in lower precision: a formula does not say how much rounding is allowed"
NO_LAYER_BUT_NUMBERS = "whatever was not recorded: other configurations, random starts, longer training"


def compared(view: CardView) -> list[Baseline]:
    """What was compared with what, one line per baseline."""
    method = view.entry.method
    lines = []
    for reference in method.references if method is not None else ():
        pairs = [
            pair
            for check in dict.fromkeys(case.check for case in view.planned)
            if check not in NOT_AGAINST_THE_REFERENCE
            for pair in view.findings(check, reference.id)
        ]
        if pairs:
            lines.append(Baseline(f"`{reference.id}`", _kind(reference), len(pairs), tally(view.states(pairs))))
    for check, baseline in NOT_AGAINST_THE_REFERENCE.items():
        if pairs := view.findings(check):
            lines.append(Baseline(f"check *{check}*", baseline, len(pairs), tally(view.states(pairs))))
    return lines


def not_covered(view: CardView) -> list[str]:
    """What this card says nothing about."""
    method = view.entry.method
    lines = [
        "layers other than one `nn.Linear`, whole models, long training runs, GPUs, other versions of the reference"
    ]
    absent = [name for name, check, pattern in WAYS if view.way(check, pattern) == "-"]
    if absent:
        lines.append(f"{', '.join(absent)}: the variant, or peft, has no such thing")
    if method is not None and method.closed is None:
        lines.append("no closed form stands as an independent witness")
    if method is not None and not method.built:
        lines.append(NO_LAYER if not method.recorded else NO_LAYER_BUT_NUMBERS)
    elif method is not None and not any(isinstance(reference, Live) for reference in method.references):
        lines.append("peft has no layer for this method: the reference is a transcription of the authors' method")
    reasons = Counter(
        (case.reference, finding.what)
        for case, finding in ((c, view.verdict.findings.get(c.id)) for c in view.planned)
        if finding is not None and state_of(case, finding, view.verdict) is State.CANNOT
    )
    lines += [f"{_cases(n)} in which `{name}` raises an error: {why}" for (name, why), n in reasons.items()]
    ill = sum(
        state is State.ILL_CONDITIONED
        for state in view.states((case, view.verdict.findings.get(case.id)) for case in view.planned)
    )
    if ill:
        lines.append(f"{_cases(ill)} in which the reference is ill-conditioned (listed under the findings)")
    return lines


def steps(view: CardView) -> list[Steps]:
    """What one step does in each combination of dtypes; equal results are one line."""
    told: dict[tuple[str, str], dict[str, set[str]]] = {}
    shapes: dict[str, set[str]] = {}
    for _, facts in view.stated(StepFacts, "low_precision", view.main):
        own = _words((pair.name, pair.subject) for pair in facts.tensors)
        theirs = _words((pair.name, pair.reference) for pair in facts.tensors)
        dtypes = f"{facts.base} + {facts.adapter}"
        told.setdefault((own, theirs), {}).setdefault(dtypes, set()).add(facts.shape)
        shapes.setdefault(dtypes, set()).add(facts.shape)
    return [
        Steps(
            ", ".join(
                dtypes if seen == shapes[dtypes] else f"{dtypes} ({', '.join(sorted(seen))})"
                for dtypes, seen in where.items()
            ),
            own,
            "the same" if own == theirs else theirs,
        )
        for (own, theirs), where in told.items()
    ]


def _cases(n: int) -> str:
    return "1 case" if n == 1 else f"{n} cases"


def _kind(reference: Reference) -> str:
    if isinstance(reference, Live):
        return f"a real layer of the pinned {reference.package}"
    if isinstance(reference, Transcribed):
        return "the authors' method, transcribed and proved on vectors recorded from their code"
    if isinstance(reference, Recorded):
        return "numbers recorded from an implementation"
    return "the formula as one weight and one bias in NumPy float64, an independent witness"


def _words(pairs: Iterable[tuple[str, str]]) -> str:
    """``A: no gradient; B, m: survives``: tensors by what happens to them."""
    groups: dict[str, list[str]] = {}
    for name, word in pairs:
        groups.setdefault(word, []).append(name)
    return "; ".join(f"{', '.join(names)}: {word}" for word, names in groups.items())
