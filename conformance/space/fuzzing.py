"""The space as a strategy of hypothesis: the axes as they are, continuous where they are continuous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.nouns.entry import Entry
from conformance.nouns.probe import Probe
from conformance.space.axes import Axis, Point
from conformance.space.points import asked, probe_at, witness_at
from conformance.space.scope import space_of
from refs.reference import ClosedForm, Reference

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

DIGITS = 3
"""Of a continuous value, so that a case's id says it exactly."""
WIDTHS = (1, 40)
"""Of small layers."""
RANKS = (1, 24)


def points(entry: Entry) -> SearchStrategy[tuple[Reference, Probe]]:
    """A reference that is asked, and a probe that keeps every rule. The first value of each axis is the simplest."""
    from hypothesis import assume
    from hypothesis import strategies as st

    assert entry.method is not None
    spaces = [(r, space_of(entry, r)) for r in entry.method.references if asked(r)]

    @st.composite
    def point(draw: Any) -> tuple[Reference, Probe]:
        reference, space = draw(st.sampled_from(spaces))
        drawn: Point = {axis.name: draw(_values(axis)) for axis in space.axes}
        assume(not any(rule.breaks(drawn) for rule in space.rules))
        probe = probe_at(drawn, space.fixed, reference.options)
        assume(reference.covers(probe.settings))
        # Between the listed values of an axis lie some to which a closed form has no answer.
        assume(not isinstance(reference, ClosedForm) or witness_at(entry, probe) is reference)
        return reference, probe

    return point()


def _values(axis: Axis) -> SearchStrategy[Any]:
    from hypothesis import strategies as st

    listed = st.sampled_from(axis.values)
    if axis.name == "size" and len(axis.values) > 1:
        return st.one_of(listed, st.tuples(st.integers(*WIDTHS), st.integers(*WIDTHS)))
    if axis.name == "r":
        return st.one_of(listed, st.integers(*RANKS))
    if axis.ends is not None and len(axis.values) > 1:
        return st.one_of(listed, st.floats(*axis.ends).map(_short).filter(bool))
    return listed


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
