"""Tables of the card: what was compared with what, what is not covered, what one step does in each dtype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.measuring.training import STEPS
from conformance.nouns.facts import LockFacts, StepFacts
from conformance.reporting.state import State, state_of, tally
from conformance.reporting.view import WAYS, CardView
from refs.reference import Live, Recorded, Reference, Transcribed

NOT_AGAINST_THE_REFERENCE: dict[str, str] = {
    "references": "the lock file: hashes of the reference's source; and the form of the links",
    "refusals": "the layer before the refused call: it must be unchanged",
    "promises": "the limits that the entry declares",
    "detach": "the layer before the adapter was attached",
    "checkpoint": "the adapter before it was saved",
    "several_layers": "each layer with its adapter alone",
    "coexistence": "each adapter alone on its layer",
    "execution_modes": "the same adapter in an ordinary call; for autocast and half precision, the reference",
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


NO_LAYER = "lower precision: a formula does not say how much rounding is allowed"
NO_LAYER_BUT_NUMBERS = "what was not recorded: other configurations, random initial values, longer training"
KINDS = {"linear": "`nn.Linear`", "conv1d": "transformers' `Conv1D`"}
"""Layer types by their name among the test configurations."""


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
            kind = _kind(reference, view.lock(reference.id))
            lines.append(Baseline(f"`{reference.id}`", kind, len(pairs), tally(view.states(pairs))))
    for check, baseline in NOT_AGAINST_THE_REFERENCE.items():
        if pairs := view.findings(check):
            lines.append(Baseline(f"check *{check}*", baseline, len(pairs), tally(view.states(pairs))))
    return lines


def not_covered(view: CardView) -> list[str]:
    """What this card says nothing about."""
    method = view.entry.method
    trained = f"training beyond {STEPS} steps" if view.findings("trajectory") else "training"
    lines = [f"layer types other than {_layers(view)}; whole models; GPUs; other versions of the reference; {trained}"]
    absent = [name for name, check, pattern in WAYS if view.way(check, pattern) == "-"]
    if absent:
        lines.append(f"{', '.join(absent)}: not offered by the variant or not by the reference")
    if method is not None and method.closed is None:
        lines.append("differences that a closed form would decide: this method has no such independent witness")
    if method is not None and not method.built:
        lines.append(NO_LAYER if not method.recorded else NO_LAYER_BUT_NUMBERS)
    elif method is not None and not any(isinstance(reference, Live) for reference in method.references):
        lines.append("a layer of peft: peft has none for this method, the reference is a transcription")
    elif method is not None and not any(isinstance(reference, Transcribed) for reference in method.references):
        lines.append("the authors' code: nothing is transcribed or recorded from it")
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
    if view.coverage is not None and view.coverage.excused:
        lines.append("combinations of settings that no test configuration has: the last table of section 6")
    return lines


def _layers(view: CardView) -> str:
    """The layer types that were tested."""
    axes = view.coverage.axes if view.coverage is not None else ()
    seen = next((axis.values for axis in axes if axis.name == "layer"), ("linear",))
    names = [KINDS.get(kind, kind) for kind in KINDS if kind in seen]
    if view.findings("quantised"):
        names.append("bitsandbytes' 4-bit and 8-bit linear layers")
    return ", ".join(names)


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


def _kind(reference: Reference, lock: LockFacts | None) -> str:
    if isinstance(reference, Live):
        version = f" {lock.version}" if lock is not None and lock.version else ""
        place = f", {lock.location.split()[0]}" if lock is not None else ""
        return f"a layer of {reference.package}{version}{place}"
    if isinstance(reference, Transcribed):
        vectors = f"; it reproduces {lock.vectors} golden vectors recorded from their code" if lock is not None else ""
        return f"the authors' method, transcribed{vectors}"
    if isinstance(reference, Recorded):
        return "numbers recorded from an implementation"
    return "the formula in NumPy float64 (effective weight and bias), an independent witness"


def _words(pairs: Iterable[tuple[str, str]]) -> str:
    """``A: no gradient; B, m: survives``: tensors by what happens to them."""
    groups: dict[str, list[str]] = {}
    for name, word in pairs:
        groups.setdefault(word, []).append(name)
    return "; ".join(f"{', '.join(names)}: {word}" for word, names in groups.items())
