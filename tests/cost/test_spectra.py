"""The exactness of leading directions, as it is measured."""

from __future__ import annotations

import pytest
import torch

from conformance.cost.points import Point
from conformance.cost.spectra import directions, sine
from conformance.cost.subjects import contenders
from subjects.own.roster import ENTRIES


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3])
def test_the_sine_of_a_known_angle(angle: float) -> None:
    """Directions could be turned and be called exact."""
    truth = torch.eye(5, dtype=torch.float64)[:2]
    t = torch.tensor(angle, dtype=torch.float64)
    rows = torch.stack((truth[0], torch.cos(t) * truth[1] + torch.sin(t) * torch.eye(5, dtype=torch.float64)[4]))
    mixed = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=torch.float64) @ rows
    assert sine(mixed, truth) == pytest.approx(torch.sin(t).item(), abs=1e-14)


def test_who_is_asked() -> None:
    """The start that takes longest would not be measured, or those be that decompose nothing."""
    rows = directions(contenders(ENTRIES), Point(64, 1, r=4))
    assert [row.name for row in rows] == ["pissa", "antipasto"]
    for row in rows:
        assert row.whole.median > 0
        assert max(row.sine, row.whole_sine) < 1e-4
    assert directions(contenders(ENTRIES[:1]), Point(64, 1, r=4)) == []
