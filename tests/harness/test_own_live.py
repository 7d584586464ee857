"""Another implementation as the reference of a method of somebody's own: locked, and named where it is wrong."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conformance.foreign.entry import entry
from conformance.foreign.own import live, write_locks
from conformance.foreign.preflight import preflight
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.verdict import Label
from conformance.planning.names import BadRequest
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs.reference import Live, Method
from tests.harness.stand_ins import OwnLayer, put

THEIRS = """
import torch
from torch import nn


def scale(alpha, r):
    return alpha / r


class Theirs(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(r, base.in_features, dtype=base.weight.dtype))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        self.s = scale(alpha, r)

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.s
"""


class Mine(nn.Module):
    """The same in other words."""

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.first = nn.Parameter(torch.randn(r, base.in_features, dtype=base.weight.dtype))
        self.second = nn.Parameter(base.weight.new_zeros(base.out_features, r))

    def forward(self, x: Tensor) -> Tensor:
        """Base and update."""
        out: Tensor = self.base(x) + self.s * (x @ self.first.T) @ self.second.T
        return out


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry whose reference is a module beside it, without a lock yet."""
    (tmp_path / "their_toy.py").write_text(THEIRS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_toy", raising=False)
    code = importlib.import_module("their_toy").Theirs
    reference = live(
        "toy",
        lambda layer, s: code(layer, s.r, s.alpha),
        {"A": "down", "B": "up"},
        code,
        "y = x W^T + b + s (x A^T) B^T",
        lock=tmp_path / "mine.lock.json",
    )
    return entry("mine", Method("toy", (reference,)), lambda layer, s: Mine(layer, s.r, s.alpha), code=Mine)


def lock_of(of: Entry) -> Finding:
    """What the check says of the reference's lock."""
    (planned,) = [p for p in make_plan((of,)) if p.check.name == "references"]
    return run_case(planned)


def test_a_live_reference_of_ones_own_has_a_lock_beside_the_entry(theirs: Entry, tmp_path: Path) -> None:
    """Code beside another implementation would be UNPROVEN for ever, or a reference could change unseen."""
    missing = lock_of(theirs)
    assert missing.outcome is Outcome.ERROR
    assert "no file mine.lock.json" in missing.got
    assert "conformance record lock --entries" in missing.want
    (line,) = write_locks((theirs,), "mine:ENTRY")
    assert "mine.lock.json: 4 sources of" in str(line)
    assert line.data()["sources"] == 4
    assert set(json.loads((tmp_path / "mine.lock.json").read_text())["objects"]) == {
        "their_toy.py::Theirs",
        "their_toy.py::Theirs.__init__",
        "their_toy.py::Theirs.forward",
        "their_toy.py::scale",
    }
    assert lock_of(theirs).outcome is Outcome.AGREE
    (tmp_path / "their_toy.py").write_text(THEIRS.replace("alpha / r", "alpha / r**0.5"), encoding="utf-8")
    assert lock_of(theirs).outcome is Outcome.ERROR


def test_code_beside_a_live_reference_of_ones_own_is_correct(theirs: Entry) -> None:
    """It would be asked for links that nobody has, or its start and rounding would not be asked."""
    write_locks((theirs,), "mine:ENTRY")
    preflight((theirs,))
    findings = {planned.case.id: run_case(planned) for planned in make_plan((theirs,))}
    (view,) = report.judged((theirs,), Evidence(findings), "mine:ENTRY")
    assert view.verdict.label is Label.CORRECT, view.verdict.reason
    assert "the entry's own, in `mine.lock.json`" in report.render((view,))["mine.md"]


@pytest.mark.parametrize(
    ("text", "told"), [("{", "that cannot be read"), ("[]", "without packages"), ("{}", "without packages, objects")]
)
def test_a_damaged_lock_says_what_it_is(theirs: Entry, tmp_path: Path, text: str, told: str) -> None:
    """A KeyError would be all that its owner sees."""
    (tmp_path / "mine.lock.json").write_text(text, encoding="utf-8")
    assert told in lock_of(theirs).got


def test_there_is_nothing_to_lock_without_a_live_reference() -> None:
    """An empty lock would be written, and look like one."""
    with pytest.raises(BadRequest, match=r"want one made by conformance\.live"):
        write_locks((entry("mine", "lora", put(OwnLayer), code=OwnLayer),), "mine:ENTRY")


def test_a_reference_without_a_source_is_refused() -> None:
    """Its lock would hold nothing."""
    local = type("Made", (nn.Module,), {"__module__": __name__})
    for code in (local, 3.0):
        with pytest.raises(BadRequest, match="want a class or function at the top of a file"):
            live("x", lambda layer, s: None, {}, code, "")


def test_a_mistake_in_the_reference_is_named_as_the_references(theirs: Entry) -> None:
    """The code under audit would be blamed for what the entry says of the other one."""
    assert theirs.method is not None
    (reference,) = theirs.method.references
    assert isinstance(reference, Live)
    code = importlib.import_module("their_toy").Theirs
    wrong = live("toy", lambda layer, s: code(layer, s.r, s.alpha), {"A": "donw", "B": "up"}, code, "")
    broken = replace(reference, build=lambda layer, s: 1 / 0)
    for of, told in ((wrong, "got 'donw' for A, want one of down, up. Did you mean 'down'?"), (broken, "ZeroDivision")):
        made = entry("mine", Method("toy", (of,)), lambda layer, s: Mine(layer, s.r, s.alpha), code=Mine)
        with pytest.raises(BadRequest, match=re.escape(f"the reference {of.id}: ")) as error:
            preflight((made,))
        assert told in str(error.value)
