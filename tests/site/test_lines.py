"""Initial distributions and loss curves: both sides are there, in their place, and said in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from conformance.nouns.finding import Drawn, Finding
from conformance.planning.plan import make_plan
from conformance.reporting.html import lines
from conformance.reporting.html.site import Audited, site
from conformance.reporting.view import CardView
from conformance.running.run import run_case
from tests.harness import toys
from tests.site.conftest import QUESTIONS, ROOT

SAME = Drawn("A", (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0))
WIDER = Drawn("A", (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def curves(text: str) -> list[str]:
    """The points of every line."""
    return re.findall(r'<polyline points="([^"]+)"', text)


@pytest.fixture(scope="module")
def learning() -> list[dict[str, Any]]:
    """The committed rows of lora, under the name of the sound toy."""
    rows = json.loads((ROOT / "reports" / "learning.json").read_text(encoding="utf-8"))["rows"]
    return [{**row, "variant": "sound"} for row in rows if row["variant"] == "lora"]


def test_equal_starts_lie_on_each_other_and_others_do_not() -> None:
    """A wrong spread at t=0 would look like the right one."""
    same, wider = (lines.initial_distributions("starts", [each]) for each in (SAME, WIDER))
    assert len(curves(same)) == len(curves(wider)) == 2
    assert curves(same)[0] == curves(same)[1]
    assert curves(wider)[0] != curves(wider)[1]
    assert "A, subject: -2 to 2, median 0; A, reference: -1 to 1, median 0." in wider
    assert lines.initial_distributions("starts", []) == ""


def test_there_is_a_panel_for_every_random_tensor() -> None:
    """The fourth tensor would be drawn over the first, or outside of the figure."""
    text = lines.initial_distributions("starts", [replace(SAME, name=name) for name in "ABCDE"])
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0])
    points = [tuple(map(float, point.split(","))) for line in curves(text) for point in line.split()]
    assert len({line.split()[0] for line in curves(text)}) == 5
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_finding_carries_what_was_drawn() -> None:
    """The figure would show something else than what was compared, or nothing."""

    class Wide(nn.Module):
        def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.A, self.B = (
                nn.Parameter(torch.empty(r, base.in_features)),
                nn.Parameter(torch.zeros(base.out_features, r)),
            )
            nn.init.uniform_(self.A, -3.0, 3.0)
            self.s = alpha / r

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.base(x) + x @ self.A.T @ self.B.T * self.s
            return y

    from conformance import entry

    def put(layer: nn.Linear, settings: Any) -> nn.Module:
        return Wide(layer, settings.r, settings.alpha).to(layer.weight.dtype)

    planned = make_plan((entry("wide", "lora", put, code=Wide, names={"A": "A", "B": "B"}),))
    asked = next(p for p in planned if p.case.check == "init" and p.case.reference == "peft:lora")
    finding = run_case(asked)
    (drawn,) = finding.drawn
    assert drawn.name == "A"
    assert -3.0 <= drawn.subject[0] < -2.9
    assert abs(drawn.reference[0]) < 0.3
    assert list(drawn.subject) == sorted(drawn.subject)
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_loss_curves_show_all_sides(shown: tuple[CardView, ...], learning: list[dict[str, Any]]) -> None:
    """A variant that learns no better than its control would not be seen; or another library get these curves."""
    text = lines.loss_curves("curves", learning)
    assert len(curves(text)) == 3 * len(learning) > 0
    assert "here: held-out loss" in text
    without = [{**row, "seeds": [{**seed, "peft": None} for seed in row["seeds"]]} for row in learning]
    assert len(curves(lines.loss_curves("curves", without))) == 2 * len(learning)
    runs = (Audited("toys", shown, {}), Audited("others", shown[:1], {}))
    files = site(runs, questions=QUESTIONS, costs={}, learning=learning)
    assert text in files["toys/sound.html"]
    assert "Loss curves" not in files["toys/shifted.html"]
    assert "Loss curves" not in files["others/sound.html"]


def test_the_kind_of_each_start_is_said(pages: dict[str, str]) -> None:
    """A tensor that starts constant has no curve, and a reader would miss it."""
    assert toys.SOUND.name == "sound"
    assert re.search(r"Initial distributions</h3>\n<p>g: constant\.", pages["toys/sound.html"])
