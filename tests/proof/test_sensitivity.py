"""How small a change is still seen is measured, and not taken from a change that is not there."""

from __future__ import annotations

import pytest

from proof import report, sensitivity
from proof.sensitivity import NEVER, SMALLEST, Seen, changed_by, of_variant, smallest
from variants.ia3 import IA3
from variants.runtime.adapter import Adapter


@pytest.mark.parametrize("border", [NEVER, 1, 2, 7, SMALLEST - 1, SMALLEST])
def test_the_border_is_found(border: int) -> None:
    """The figure in the report would be off by a power of ten, or stand for a change that nobody saw."""
    assert smallest(lambda n: n <= border) == border


def test_a_gate_is_seen_to_many_digits() -> None:
    """A change would be made that changes nothing, or the checks would be as blind as the figure says."""
    kinds = of_variant("ia3").tensors["g"]
    assert kinds["contribution"] >= 9
    assert kinds["gradient"] >= 9
    assert kinds["start"] >= 9


def test_the_changed_variant_hooks_what_the_variant_hooks() -> None:
    """A hook that the variant has not got would raise an error, and any change would count as seen."""
    changed = changed_by(IA3, "g", "gradient", 0.0)
    assert changed.change_input is Adapter.change_input
    assert changed.change_output is not IA3.change_output


def test_without_a_change_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of making the change would be seen in place of the change."""
    monkeypatch.setattr(sensitivity, "CHECKS", {"contribution": ("forward",)})
    real = sensitivity.changed_by
    monkeypatch.setattr(sensitivity, "changed_by", lambda code, tensor, kind, e: real(code, tensor, kind, 0.0))
    assert of_variant("ia3_ff").tensors["g"]["contribution"] == NEVER


def test_what_is_not_seen_speaks_against_the_proof() -> None:
    """A check could go blind to a tensor, and the proof would still pass."""
    row = Seen("ia3", {"g": {"contribution": NEVER, "gradient": 12, "start": 1}})
    assert report.sensitivity_part([row]).problems
    assert not report.sensitivity_part([Seen("ia3", {"g": {"contribution": 3, "gradient": 12, "start": 0}})]).problems
