"""Somebody else's code: right code reads CORRECT in its own ways, wrong code reads BUGGY, and a line says why."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from conformance.foreign.conforms import conforms_to
from conformance.foreign.entry import entry
from conformance.foreign.mapping import copy_base
from conformance.foreign.preflight import preflight, problems
from conformance.judging.judge import NEEDED
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Kind, Outcome
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Again, Promises, Stored
from conformance.nouns.verdict import Deviation, Label
from conformance.planning.names import BadRequest
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from conformance.space.coverage import coverage
from refs.reference import Built
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Subject, shifted
from tests.harness.stand_ins import (
    Forgetful,
    Matrices,
    MergesUnscaled,
    OddGate,
    OwnLayer,
    Single,
    Unscaled,
    Wrapper,
    put,
)

pytestmark = pytest.mark.integration

ONE_DTYPE = replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER)
MERGES = Lifecycle(merge=lambda subject: subject.host.get_submodule("layer").merge())  # type: ignore[operator]


def test_a_put_that_returns_something_else() -> None:
    """A forgotten return would read as tensors without a name."""
    forgotten = entry("forgotten", "lora", lambda layer, settings: None)
    with pytest.raises(BadRequest, match=r"put\(\) returned None and changed nothing in the layer. Did you forget"):
        preflight((forgotten,))
    with pytest.raises(BadRequest, match=r"put\(\) returned an int. It must return the nn.Module to call, or None if"):
        preflight((entry("number", "lora", lambda layer, settings: 3),))  # type: ignore[arg-type, return-value]


def lora(kind: type[nn.Module], promises: Promises = ONE_DTYPE, **more: object) -> Entry:
    """A LoRA of another library as an entry."""
    buffers = () if kind is OwnLayer else ("*.alpha",)
    return entry(kind.__name__, "lora", put(kind), code=kind, promises=replace(promises, bookkeeping=buffers), **more)  # type: ignore[arg-type]


def gate(kind: type[nn.Module]) -> Entry:
    """An (IA)^3 that stores g - 1."""
    return entry(
        kind.__name__,
        "ia3",
        lambda layer, settings: kind(layer),
        names={"g": ("shift", shifted(1.0))},
        code=kind,
        promises=ONE_DTYPE,
    )


def card(of: Entry) -> CardView:
    """The audit of one entry by what a verdict needs; of the many points of the check ``space``, the closed form's."""
    assert of.method is not None
    asked = (*NEEDED, "promises")
    short = [replace(each, checks=asked) if isinstance(each, Built) else each for each in of.method.references]
    of = replace(of, method=replace(of.method, references=tuple(short)))
    findings = {planned.case.id: run_case(planned) for planned in make_plan((of,))}
    (view,) = report.judged((of,), Evidence(findings), "mine:ENTRY")
    return view


@cache
def known(name: str) -> CardView:
    """The audits that several tests look at."""
    return card({"own": lora(OwnLayer), "unscaled": lora(Unscaled)}[name])


def test_a_right_lora_on_the_layer_itself_is_correct() -> None:
    """Every third-party LoRA would be BUGGY for its dtypes, or for registering its tensors on the layer."""
    view = known("own")
    assert view.verdict.label is Label.CORRECT, [row.told for row in view.must_fix()]
    assert view.section(("merge", "checkpoint")) == "not tested"
    text = report.render((view,))["OwnLayer.md"]
    assert "Limit: its tensors have the layer's dtype (shown in this run)." in text


def test_a_wrong_scale_is_said_in_the_first_line() -> None:
    """A reader would have to find out by himself what a difference is."""
    view = known("unscaled")
    assert view.verdict.label is Label.BUGGY
    assert "the adapter's part is r/alpha times the reference's" in view.must_fix()[0].told
    assert "--entries mine:ENTRY --case 'Unscaled/" in report.render((view,))["Unscaled.md"]


def test_a_merge_without_a_way_back_is_asked_and_may_be_repeated() -> None:
    """Code that cannot unmerge would not be asked about merging, or a repeatable merge would be called a fault."""
    ignored = replace(ONE_DTYPE, merging=Again.IGNORED)
    asked = [p for p in make_plan((lora(Wrapper, ignored, lifecycle=MERGES),)) if p.check.name == "merge"]
    assert asked
    assert {run_case(planned).outcome for planned in asked} == {Outcome.AGREE}
    wrong = [p for p in make_plan((lora(MergesUnscaled, lifecycle=MERGES),)) if p.check.name == "merge"]
    found = [run_case(planned) for planned in wrong]
    assert any(f.outcome is Outcome.DIFFER and f.what == "merged weight" for f in found)


def test_a_constant_in_float32_differs_in_float64_only() -> None:
    """Seven digits would be called wrong, or a name would be a tolerance."""
    view = card(lora(Single))
    assert view.verdict.label is Label.PARTIAL, view.verdict.reason
    assert {decided.finding.kind for decided in view.verdict.minor} == {Kind.FLOAT64}
    strict = card(replace(lora(Single), promises=replace(ONE_DTYPE, bookkeeping=("*.alpha",), as_reference=False)))
    assert strict.verdict.label is Label.BUGGY


def test_a_limit_that_is_not_there_is_unproven() -> None:
    """An entry could declare away what its code is wrong in, and nobody would see it."""
    takes = replace(ONE_DTYPE, input_ranks=(2,))
    (planned,) = [p for p in make_plan((lora(Wrapper, takes),)) if p.case.probe == "input-ranks"]
    assert run_case(planned).outcome is Outcome.DIFFER
    (planned,) = [p for p in make_plan((lora(Matrices, takes),)) if p.case.probe == "input-ranks"]
    assert run_case(planned).outcome is Outcome.AGREE


def test_limits_are_seen_where_none_is_stated() -> None:
    """Code whose entry says nothing would be BUGGY for what it does not take."""
    found = entry("m", "lora", put(Matrices), code=Matrices).promises
    assert (found.input_ranks, found.mixes_dtypes, found.stored) == ((2,), False, Stored.AS_LAYER)


def test_a_gate_stored_as_its_distance_from_one_is_right() -> None:
    """An affine storage could not be mapped, or its gradient would be off by the shift."""
    right = [run_case(p) for p in make_plan((gate(OddGate),)) if p.check.name in ("forward", "gradients", "params")]
    assert {f.outcome for f in right} == {Outcome.AGREE}
    wrong = [run_case(p) for p in make_plan((gate(Forgetful),)) if p.check.name == "forward"]
    assert "the residual is (1 - g) * bias" in {f.explained for f in wrong}


def test_a_declared_deviation_of_others_counts() -> None:
    """What another library does on purpose would be MUST-FIX for ever."""
    deviation = Deviation("*/*/*", "no scale", "alpha is r", "https://example.org", by_default=True, shows=("*",))
    view = card(replace(lora(Unscaled), deviations=(deviation,)))
    assert view.verdict.label is Label.PARTIAL
    assert view.verdict.buggy == ()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"A": "down.wight", "B": "up.weight"}, "Did you mean 'layer.down.weight'?"),
        ({"A": "up.weight", "B": "down.weight"}, "of shape 20x4 for A, want 4x12"),
    ],
)
def test_a_mistake_in_the_entry_is_one_message(names: dict[str, str], told: str) -> None:
    """A wrong name would be some eighty findings against the code."""
    wrong = entry("w", "lora", put(Wrapper), names=names, promises=ONE_DTYPE)
    with pytest.raises(BadRequest, match="the entry, not the code under audit, is wrong") as error:
        preflight((wrong,))
    assert told in str(error.value)


def test_a_copy_that_was_forgotten_is_the_entrys_mistake() -> None:
    """A layer with another weight would be audited."""
    fresh = entry("f", "lora", lambda layer, s: Wrapper(nn.Linear(12, 20), s.r, s.alpha), promises=ONE_DTYPE)
    assert any("Copy weight and bias" in problem for problem in problems(fresh))


def test_tensors_that_are_not_clear_are_listed() -> None:
    """A guess among equal shapes would be audited as if it were known."""

    class Twins(Wrapper):
        def __init__(self, layer: nn.Linear, r: int, alpha: float) -> None:
            super().__init__(layer, r, alpha)
            self.other = nn.Linear(layer.in_features, r, bias=False)

    twins = entry("t", "lora", put(Twins), promises=ONE_DTYPE)
    assert any("A (4x12): down.weight, other.weight" in problem for problem in problems(twins))


def test_a_method_with_a_closed_form_alone_can_be_planned() -> None:
    """A formula without a layer would end in an IndexError."""
    method = next(m for m in METHODS if m.name == "lora")
    alone = replace(method, references=(method.closed,))
    (planned, *_) = [p for p in make_plan((replace(lora(OwnLayer), method=alone),)) if "perturbed" in p.case.probe]
    assert run_case(planned).outcome is Outcome.AGREE


ROOT = Path(__file__).parents[2]


def test_a_starter_is_written_and_a_wrong_name_in_it_ends_with_status_2(tmp_path: Path) -> None:
    """The first five minutes would be spent on writing an entry, or on eighty findings about a wrong name."""
    (tmp_path / "theirs.py").write_text(SIZED, encoding="utf-8")
    done = _conformance(tmp_path, "new", "entry", "audit_it.py", "--method", "peft:lora", "--class", "theirs:Sized")
    assert done.returncode == 0, done.stdout + done.stderr
    place = tmp_path / "audit_it.py"
    assert "Sized(in_dim=layer.in_features, out_dim=layer.out_features, rank=settings.r" in place.read_text()
    assert "copy_base(layer, module)" in place.read_text()
    again = _conformance(tmp_path, "new", "entry", "audit_it.py", "--method", "peft:lora", "--class", "theirs:Sized")
    assert again.returncode == 2
    place.write_text(place.read_text().replace("    # names", '    names={"A": "lora_a.wait"},\n    # names'))
    wrong = _conformance(tmp_path, "audit", "--entries", "audit_it.py:ENTRY")
    assert wrong.returncode == 2
    assert "Did you mean 'layer.lora_a.weight'?" in wrong.stderr


SIZED = """
import torch
from torch import nn


class Sized(nn.Module):
    def __init__(self, in_dim, out_dim, rank, alpha, use_bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        self.bias = nn.Parameter(torch.empty(out_dim)) if use_bias else None
        self.lora_a = nn.Linear(in_dim, rank, bias=False)
        self.lora_b = nn.Linear(rank, out_dim, bias=False)
        self.scale = alpha / rank

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias) + self.lora_b(self.lora_a(x)) * self.scale
"""


def _conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore", "-m", "conformance", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@conforms_to("peft:lora", promises=replace(ONE_DTYPE, bookkeeping=("*.alpha",)))
def test_findings_are_tests_of_ones_own_project(layer: nn.Linear, settings: Settings) -> nn.Module:
    """A project could not ask in its own tests."""
    return Wrapper(layer, settings.r, settings.alpha)


@pytest.mark.parametrize("library", ["loralib", "litgpt", "torchtune", "lora_pytorch", "lycoris", "adapters", "peft"])
def test_entries_of_an_installed_library_can_be_asked(library: str) -> None:
    """A new version of a library would fail in the entry, and be blamed for it."""
    pytest.importorskip(library, reason=f"{library} is not installed here", exc_type=ImportError)
    entries = import_module(f"subjects.{library}.entries").LIBRARY.entries
    assert entries
    preflight(entries)


@pytest.mark.parametrize(("kind", "transposed"), [(nn.Linear, False), (OwnLayer, False), (Conv1D, True)])
def test_which_way_a_layer_stores_its_weight(kind: type[nn.Module], transposed: bool) -> None:
    """The weight of a layer that is no nn.Linear would be read transposed; on a square one nothing would raise."""
    layer = nn.Module()
    layer.__class__ = type(kind.__name__, (kind,), {})
    layer.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    read = Subject(layer, layer).weight  # type: ignore[arg-type]
    assert torch.equal(read, layer.weight.T if transposed else layer.weight)


def test_a_tensor_stored_less_a_constant_is_not_blamed_for_it() -> None:
    """Weight decay pulls a g that is stored as g - 1 to another place, and float32 keeps other digits of it."""
    made = gate(OddGate)
    assert made.promises.offset
    asked = {p.probe.special for p in make_plan((made,)) if p.case.check == "trajectory"}
    assert "sgd" in asked
    assert not asked & {"adamw-decay", "adamw-seeds"}
    assert not lora(OwnLayer).promises.offset
    subject = made.build(nn.Linear(12, 20), Settings(r=4, alpha=6.0))
    g = torch.full((20,), 0.1, dtype=torch.float64)
    kept = subject.kept({"g": g}, torch.float32)["g"]
    assert torch.equal(kept, (g - 1).float().double() + 1)
    assert not torch.equal(kept, g.float().double())


def test_a_reference_whose_option_is_not_offered_is_not_missed() -> None:
    """Peft's own HRA, which has no output side, would be UNPROVEN for what it does not have."""
    hra = next(method for method in METHODS if method.name == "hra")
    live = next(reference for reference in hra.references if isinstance(reference, Built))
    narrow = Entry("hra", live.build, Subject, hra, promises=replace(FOREIGN, offers=tuple(dict(live.options))))
    assert any(not narrow.promises.has(reference.options) for reference in hra.references)
    assert coverage(narrow).missing == ()


class Nested(nn.Module):
    """A layer of its own whose factors are layers, too: with r = d_out = d_in all three have one shape."""

    def __init__(self, d: int, r: int, below: bool) -> None:
        super().__init__()
        if below:
            self.base = nn.Linear(d, d)
        else:
            self.weight = nn.Parameter(torch.zeros(d, d))
        self.a, self.b = nn.Linear(d, r, bias=False), nn.Linear(r, d, bias=False)


def test_a_copy_goes_to_the_place_nearest_to_the_module_or_says_that_it_is_not_clear() -> None:
    """The base would be copied over a factor of the adapter, or right code be blamed for a mistake of its entry."""
    layer = nn.Linear(16, 16, dtype=torch.float64)
    near = Nested(16, 16, below=False).double()
    copy_base(layer, near)
    assert torch.equal(near.weight, layer.weight)
    assert not near.weight.requires_grad
    assert near.a.weight.requires_grad
    with pytest.raises(BadRequest, match="got 3 places for a weight"):
        copy_base(layer, Nested(16, 16, below=True))


def test_a_copy_that_loses_digits_is_a_mistake_of_the_entry() -> None:
    """A hundred findings would blame the code for a cast that the entry does in the wrong order."""

    def put_late(layer: nn.Linear, settings: Settings) -> nn.Module:
        module = OwnLayer(nn.Linear(layer.in_features, layer.out_features), settings.r, settings.alpha)
        copy_base(layer, module)
        return module.to(layer.weight.dtype)

    late = entry("late", "lora", put_late, code=OwnLayer, promises=ONE_DTYPE)
    (told,) = problems(late)
    assert told.startswith("on nn.Linear(16, 16) in float64 with r=16: the module: got a weight of that shape with")
