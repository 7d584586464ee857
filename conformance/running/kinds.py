"""What a difference is: from the reference, in float64 only, stricter than the reference, or of a promise of its own.

Pure in what it names; it may ask the live reference the same question, for what a reference does not give itself is no
fault of others.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.measuring.trial import Trial
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Compared, Fault, Finding, Kind, Outcome
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Float64
from conformance.planning.plan import Planned
from refs.reference import Live, Recorded

OWN = ("refusals", "promises", "detach", "checkpoint", "coexistence", "exchange")
"""Checks that compare the subject with itself, or with what its entry says."""
ALSO_OF_THE_REFERENCE = ("detach", "merge", "execution_modes")
"""Checks about a lifecycle that a layer of peft has, too."""


def named(planned: Planned, finding: Finding) -> Finding:
    """The finding with the kind of its difference; nothing is changed in an agreement."""
    if finding.outcome is not Outcome.DIFFER:
        return finding
    promises = planned.entry.promises
    if promises.as_reference and _asked_of_a_layer_too(planned):
        finding = beyond_the_reference(planned, finding)
    own = planned.check.name in OWN or (finding.float32_would_agree and promises.float64 is Float64.EXACT)
    kind = Kind.PROMISE if own else Kind.REFERENCE
    if promises.as_reference and finding.float32_would_agree:
        kind = Kind.FLOAT64
    elif promises.as_reference and finding.raised and not is_plain(planned.probe):
        kind = Kind.STRICTER
    return replace(finding, kind=kind)


def _asked_of_a_layer_too(planned: Planned) -> bool:
    """A lifecycle that a layer of peft has, too; or a comparison with another reference than that layer.

    Whatever differs from the live reference itself is seen where the two are compared.
    """
    other = not isinstance(planned.reference, Live | Recorded) and planned.check.name not in OWN
    return other or planned.check.name in ALSO_OF_THE_REFERENCE


def is_plain(probe: Probe) -> bool:
    """Ordinary use: one floating-point dtype of at least float32 on both sides, a batch that is not empty, matrices or
    sequences, no special case. An error there is no strictness.
    """
    one_dtype = probe.dtype in ("float32", "float64") and probe.adapter in (None, probe.dtype)
    return one_dtype and len(probe.batch) in (1, 2) and 0 not in probe.batch and not probe.special


def beyond_the_reference(planned: Planned, finding: Finding) -> Finding:
    """What is left of the difference, without what the live reference differs in when it is asked the same."""
    theirs = _asked_of_the_reference(planned)
    shared = set(finding.differing) & theirs
    if not shared:
        return finding
    left = tuple(thing for thing in finding.differing if thing not in shared)
    if left:
        others = tuple(name for name in finding.others if name in {str(thing) for thing in left})
        first = finding.what if finding.what in {str(thing) for thing in left} else str(left[0])
        return replace(finding, differing=left, what=first, others=tuple(o for o in others if o != first))
    main = planned.entry.method.main.id if planned.entry.method is not None else ""
    told = f"`{main}` fails the same check: {', '.join(sorted(map(str, shared)))}."
    return replace(finding, fault=Fault.REFERENCE, at_fault=told)


def _asked_of_the_reference(planned: Planned) -> set[Compared]:
    """What differs where the live reference is the subject of the same check under the same configuration."""
    method = planned.entry.method
    live = next((r for r in method.references if isinstance(r, Live)), None) if method is not None else None
    if method is None or live is None or not live.covers(planned.probe.settings):
        return set()
    entry = Entry(planned.entry.name, live.build, planned.entry.code, method, lifecycle=PEFT)
    entry = replace(entry, has_dropout=planned.entry.has_dropout, promises=planned.entry.promises)
    trial = Trial(entry, planned.reference, planned.probe, planned.check.name)
    try:
        found = planned.check.run(trial)
    except Exception as error:
        return {Compared("raised an error")} if error is not None else set()
    return set(found.differing) if found.outcome is Outcome.DIFFER else set()


PEFT = Lifecycle(
    detach=lambda subject: setattr(subject.host, "layer", subject.base),
    merge=lambda subject: subject.host.get_submodule("layer").merge(),  # type: ignore[operator]
    unmerge=lambda subject: subject.host.get_submodule("layer").unmerge(),  # type: ignore[operator]
)
"""What a layer of peft offers for itself."""
