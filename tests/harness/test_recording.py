"""Recorded numbers of somebody's own: they tell right code from wrong, and a folder that is not theirs says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from conformance.foreign.entry import entry
from conformance.foreign.preflight import preflight
from conformance.foreign.recording import record
from conformance.judging.needed import needed
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Outcome
from conformance.nouns.probe import Probe
from conformance.nouns.promises import FOREIGN, Promises, Stored
from conformance.nouns.verdict import Label
from conformance.planning.names import BadRequest
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs.foreign.recorded import recorded
from refs.reference import Method
from tests.harness.stand_ins import OwnLayer, Single, Unscaled, Wrapper, put

NAMES = {"A": "lora_A", "B": "lora_B"}
ONE_DTYPE = replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER)


def method(folder: Path) -> Method:
    """A method of which there are numbers alone."""
    return Method("mine", (recorded("mine", folder, "W' = W + s B A"),))


def audited(kind: type[nn.Module], folder: Path, promises: Promises = ONE_DTYPE, **more: object) -> Entry:
    """A LoRA of another library against the numbers."""
    buffers = () if kind is OwnLayer else ("*.alpha",)
    promises = replace(promises, bookkeeping=buffers)
    return entry(kind.__name__, method(folder), put(kind), code=kind, promises=promises, **more)  # type: ignore[arg-type]


def card(of: Entry) -> CardView:
    """Its whole audit."""
    preflight((of,))
    findings = {planned.case.id: run_case(planned) for planned in make_plan((of,))}
    (view,) = report.judged((of,), Evidence(findings), "mine:ENTRY")
    return view


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers of a right LoRA, in float64, float32 and bfloat16."""
    made = tmp_path_factory.mktemp("numbers") / "vectors"
    told = record(audited(OwnLayer, made, names=NAMES), "mine:ENTRY")
    assert "nothing has changed, not that it is right" in str(told)
    assert told.data()["manifest"] == str(made / "manifest.json")
    return made


@pytest.mark.parametrize("kind", [OwnLayer, Wrapper])
def test_the_same_function_is_correct(folder: Path, kind: type[nn.Module]) -> None:
    """Right code in other words would differ; its tensors are found by the recorded ones."""
    view = card(audited(kind, folder))
    assert view.verdict.label is Label.CORRECT, [row.told for row in view.rows]
    dtypes = {case.probe.split("-")[1] for case in view.planned if case.check == "recorded"}
    assert dtypes == {"f64", "f32", "bf16"}
    text = report.render((view,))[f"{kind.__name__}.md"]
    assert "Recorded numbers (initial values, outputs, gradients): all 13 cases agree" in text
    assert "vectors recorded from tests/harness/stand_ins.py:" in text


def test_another_function_is_buggy(folder: Path) -> None:
    """Numbers would prove whatever they are shown."""
    view = card(audited(Unscaled, folder))
    assert view.verdict.label is Label.BUGGY
    asked = [d.finding for d in view.verdict.buggy if d.case.check == "recorded"]
    assert {"output", "gradient of A", "gradient of B", "gradient of x"} <= {
        n for f in asked for n in (f.what, *f.others)
    }


def test_a_constant_in_float32_differs_in_float64_only(folder: Path) -> None:
    """Numbers in float64 would be asked of code that has seven digits."""
    assert card(audited(Single, folder)).verdict.label is Label.PARTIAL


class Started(OwnLayer):
    """B does not start at zero."""

    def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
        super().__init__(layer, r, alpha)
        nn.init.ones_(self.lora_B)


def test_a_start_that_is_determined_is_compared(folder: Path) -> None:
    """Equal outputs at equal tensors would hide where they start."""
    of = entry("s", method(folder), put(Started), names=NAMES, code=Started, promises=ONE_DTYPE)
    found = [run_case(planned) for planned in make_plan((of,)) if planned.case.check == "recorded"]
    assert {f.what for f in found if f.outcome is Outcome.DIFFER} == {"B at t=0"}


def test_numbers_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    """No vector would be no case, and no case no finding."""
    of = audited(OwnLayer, tmp_path / "none", names=NAMES)
    (planned,) = [p for p in make_plan((of,)) if p.case.check == "references"]
    found = run_case(planned)
    assert found.outcome is Outcome.ERROR
    assert "conformance record vectors --entries" in found.want
    assert card(of).verdict.label is Label.UNPROVEN
    assert needed(of) == ("references", "recorded")


@pytest.mark.parametrize("damage", ["a file", "the manifest", "a strange vector"])
def test_a_folder_that_is_not_what_was_recorded_is_unproven(folder: Path, tmp_path: Path, damage: str) -> None:
    """Numbers could be edited until the code agrees."""
    made = tmp_path / "vectors"
    made.mkdir()
    for file in folder.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    one = next(made.glob("*.safetensors"))
    rows = json.loads((made / "manifest.json").read_text())
    if damage == "a file":
        one.write_bytes(one.read_bytes()[:-1] + b"\0")
    elif damage == "the manifest":
        (made / "manifest.json").write_text("{")
    else:
        del rows["files"][0]["config"]["probe"]
        (made / "manifest.json").write_text(json.dumps(rows))
    of = audited(OwnLayer, made, names=NAMES)
    (planned,) = [p for p in make_plan((of,)) if p.case.check == "references"]
    assert run_case(planned).outcome is Outcome.ERROR
    assert card(of).verdict.label is Label.UNPROVEN


def test_what_cannot_be_recorded_is_said(folder: Path, tmp_path: Path) -> None:
    """Numbers would be replaced by the way, or be recorded under names that nobody can map."""
    with pytest.raises(BadRequest, match="which has vectors already"):
        record(audited(OwnLayer, folder), "mine:ENTRY")
    with pytest.raises(BadRequest, match=r"got no names for the tensors of 'OwnLayer' \(lora_A, lora_B\)"):
        record(audited(OwnLayer, tmp_path / "new"), "mine:ENTRY")
    with pytest.raises(BadRequest, match=r"has no recorded\(...\) reference"):
        record(entry("o", "lora", put(OwnLayer), code=OwnLayer, promises=ONE_DTYPE), "mine:ENTRY")
    assert not (tmp_path / "new").exists()


def test_a_probe_survives_json() -> None:
    """A vector would be asked under another configuration than it was recorded in."""
    probe = Probe(options=(("a", 1),), batch=(2, 3), point=(("calls", "twice"),), training=True)
    assert Probe.of(json.loads(json.dumps(probe.plain()))) == probe
