"""The lines that findings point at: of ours, of peft, of transcriptions, and of classes that nobody prepared."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conformance.measuring import places
from conformance.measuring.named import naming
from conformance.measuring.places import Lines, placed, reference_lines, subject_lines
from conformance.measuring.trial import Trial
from conformance.nouns.entry import ROOT, Entry, at, line_at, split_line
from conformance.nouns.finding import Compared, Finding, Outcome
from conformance.planning.plan import Planned, make_plan
from conformance.reporting import report
from conformance.reporting.formats.sarif import sarif
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from subjects.own.roster import ENTRIES
from tests.harness import stand_ins, toys

OWN = {entry.name: entry for entry in ENTRIES}


def planned(entry: Entry, check: str, reference: str = "") -> Planned:
    """The first case of a check, against one reference if it is named."""
    return next(
        p
        for p in make_plan((entry,))
        if p.check.name == check and reference in ("", p.reference.id) and not p.probe.label
    )


def trial_of(entry: Entry, reference: str = "") -> Trial:
    """Both sides under the first probe of ``forward``."""
    p = planned(entry, "forward", reference)
    return Trial(p.entry, p.reference, p.probe, "forward")


def text_at(location: str) -> str:
    """The line that a place names."""
    file, line, words = split_line(location)
    path = ROOT / file
    if words:
        import peft

        path = Path(peft.__file__).parents[1] / file
    return path.read_text(encoding="utf-8").splitlines()[line - 1].strip()


def shown(lines: Lines | None, *names: str) -> list[tuple[str, str, str]]:
    """The text of each tensor's lines: made, filled, used."""
    assert lines is not None
    return [(text_at(lines.made[n]), text_at(lines.filled[n]), text_at(lines.used[n])) for n in names]


def test_the_lines_of_a_variant_here() -> None:
    """A finding about one tensor of DoRA would point at the class, or into the runtime that makes all tensors."""
    lines = subject_lines(trial_of(OWN["dora"]))
    A, m = shown(lines, "A", "m")
    assert A[0] == A[1] == '"A": TensorSpec((config.r, d_in), config.initial_A),'
    assert m[0] == '"m": TensorSpec((d_out,), _row_norm_of_base),'
    assert m[1].startswith("return torch.cat([row_norm(W")
    assert m[2] == "return self.m / norm"
    assert text_at(lines.output).startswith("return (f * Vx if b is None else torch.lerp(")


def test_a_tensor_whose_name_the_class_computes() -> None:
    """The right factor of the SVD family, named by a class attribute, would have no line of its own."""
    (Vh,) = shown(subject_lines(trial_of(OWN["antipasto"])), "Vh")
    assert Vh[0] == "cls.right: TensorSpec((config.r, d_in), buffer=True),"


def test_the_lines_of_peft() -> None:
    """A finding that peft is at fault would point at a class of three hundred lines."""
    lines = reference_lines(trial_of(OWN["dora"], "peft:dora"))
    A, m = shown(lines, "A", "m")
    assert A[0] == "self.lora_A[adapter_name] = nn.Linear(self.in_features, r, bias=False)"
    assert "kaiming_uniform_" in A[1]
    assert "linalg.norm" in m[1]
    assert lines is not None
    assert lines.used["m"].startswith("peft/tuners/lora/dora.py:")
    assert split_line(lines.used["m"])[2] == "DoraLinearLayer.forward"


def test_the_lines_of_a_transcription() -> None:
    """A finding about the authors' method would point at the layer that all transcriptions are built into."""
    lines = reference_lines(trial_of(OWN["hra"], "authors:hra"))
    (U,) = shown(lines, "U")
    assert lines is not None
    assert lines.used["U"].startswith("refs/transcriptions/hra.py:")
    assert lines.output.startswith("refs/transcriptions/hra.py:")
    assert U[1].startswith(("half", "return", "drawn", "U"))


def stand_in(kind: type[nn.Module], names: dict[str, str]) -> Entry:
    """Somebody else's LoRA."""

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        host = Host(kind(layer, settings.r, settings.alpha))
        base = host.layer if isinstance(host.layer, nn.Linear) else layer
        return Subject(host, base, {name: (f"layer.{path}", AS_IS) for name, path in names.items()})

    return replace(OWN["lora"], name="stand_in", build=build, code=kind, options=(), deviations=(), specials=())


@pytest.mark.parametrize(
    ("kind", "names", "want"),
    [
        (
            stand_ins.OwnLayer,
            {"A": "lora_A", "B": "lora_B"},
            (
                "self.lora_A = nn.Parameter(self.weight.new_empty((r, layer.in_features)))",
                "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
                "return F.linear(x, self.weight, self.bias) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling",
            ),
        ),
        (
            stand_ins.Wrapper,
            {"A": "down.weight", "B": "up.weight"},
            (
                "self.down = nn.Linear(layer.in_features, r, bias=False, dtype=layer.weight.dtype)",
                "nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))",
                "return y if self.merged else y + self.up(self.down(x)) * self.scaling",
            ),
        ),
    ],
)
def test_the_lines_of_foreign_code(kind: type[nn.Module], names: dict[str, str], want: tuple[str, str, str]) -> None:
    """Only code of this project would get lines, and everybody else the first line of their class."""
    lines = subject_lines(trial_of(stand_in(kind, names), "peft:lora"))
    assert shown(lines, "A") == [want]
    assert text_at(lines.output) == want[2]


def difference(check: str, what: str, entry: Entry = OWN["dora"], **more: Any) -> Finding:
    """A finding of a difference, placed."""
    p = planned(entry, check, "peft:dora")
    found = Finding(p.case.id, Outcome.DIFFER, 1, what, got="1", want="2", **more)
    return placed(Trial(p.entry, p.reference, p.probe, check), found)


@pytest.mark.parametrize(
    ("check", "what", "ours", "theirs"),
    [
        ("params", "A: shape", '"A": TensorSpec', "self.lora_A[adapter_name] = nn.Linear"),
        ("init", "A: mean at t=0", '"A": TensorSpec', "kaiming_uniform_"),
        ("gradients", "gradient of m", "return self.m / norm", "mag_norm_scale"),
        ("forward", "output", "return (f * Vx", "result"),
        ("low_precision", "output: dtype", "return (f * Vx", "result"),
        ("trajectory", "m in training", "return self.m / norm", "mag_norm_scale"),
    ],
)
def test_the_line_follows_from_what_differs(check: str, what: str, ours: str, theirs: str) -> None:
    """A wrong shape would point at the forward, or a wrong output at the start."""
    found = difference(check, what)
    assert ours in text_at(found.subject_at)
    assert theirs in text_at(found.reference_at)


def test_an_agreement_and_a_lifecycle_have_no_lines() -> None:
    """Every case would be built and called once more; or a difference from itself would point at the reference."""
    assert difference("forward", "output", asked=(Compared("output"),)).subject_at
    p = planned(OWN["dora"], "detach")
    found = Finding(p.case.id, Outcome.DIFFER, 1, "weight")
    assert placed(Trial(p.entry, p.reference, p.probe, "detach"), found) == found
    agreed = Finding(p.case.id, Outcome.AGREE, 1, "output")
    assert placed(Trial(p.entry, p.reference, p.probe, "forward"), agreed) == agreed


def test_a_tensor_that_one_side_lacks() -> None:
    """The reader would not be led to the tensor that is missing on the other side."""
    names = {"A": "lora_A", "B": "lora_B"}
    p = planned(
        replace(OWN["dora"], build=stand_in(stand_ins.OwnLayer, names).build, code=stand_ins.OwnLayer), "params"
    )
    found = run_case(p)
    assert found.what == "names of the tensors"
    assert found.subject_at == ""
    assert split_line(found.reference_at)[0] == "peft/tuners/lora/dora.py"


def test_an_error_points_at_the_line_that_raised() -> None:
    """A finding about an exception would point at the class, though the traceback knows better."""

    class Raises(toys.Gate):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    entry = replace(toys.SOUND, name="raises", build=lambda layer, s: toys.gated(layer, s, Raises), code=Raises)
    found = run_case(planned(entry, "forward"))
    assert found.raised
    assert text_at(found.subject_at) == 'raise RuntimeError("no")'


def test_the_closed_form_has_the_line_of_its_function() -> None:
    """A difference from the formula would point at peft."""
    p = planned(OWN["dora"], "forward", "closed:dora")
    form = p.entry.method.closed if p.entry.method else None
    assert form is not None
    trial = Trial(p.entry, p.reference, p.probe, "forward")
    assert placed(trial, Finding(p.case.id, Outcome.DIFFER, 1, "output")).reference_at == at(form.effective)
    assert form.pullback is not None
    assert placed(trial, Finding(p.case.id, Outcome.DIFFER, 1, "gradient of m")).reference_at == at(form.pullback)


def test_a_side_that_cannot_be_asked_costs_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a line could turn a difference into an error."""

    def fails(trial: Trial) -> Lines:
        raise RuntimeError("no line")

    monkeypatch.setattr(places, "KNOWN", {})
    monkeypatch.setattr(places, "subject_lines", fails)
    found = difference("forward", "output")
    assert (found.outcome, found.subject_at) == (Outcome.DIFFER, "")
    assert found.reference_at


def test_cards_and_sarif_name_the_lines(toy_findings: dict[str, Finding]) -> None:
    """The lines would be in the evidence, and on no page."""
    case = next(c for c, f in toy_findings.items() if c.startswith("shifted/") and f.outcome is Outcome.DIFFER)
    assert text_at(toy_findings[case].subject_at) == "return super().forward(x) + 1e-3"
    told = {c: replace(f, reference_at="peft/a.py:7 (Layer.forward)") for c, f in toy_findings.items()}
    views = report.judged((toys.SHIFTED,), Evidence({c: f for c, f in told.items() if c.startswith("shifted/")}))
    line = f"  - subject `{toy_findings[case].subject_at}`, reference `peft/a.py:7 (Layer.forward)`"
    assert line in report.render(views)["shifted.md"]
    assert '"startLine": 7' in sarif(views, {}, "0.1.0")


def test_places_are_the_same_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card would hold a path of the machine that made it."""
    package, project = tmp_path / "a" / "pkg" / "sub", tmp_path / "b" / "src"
    for folder in (package, project):
        folder.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (tmp_path / "b" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "a")
    assert line_at(package / "m.py", 3) == "pkg/sub/m.py:3"
    monkeypatch.chdir("/")
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "c")
    assert line_at(package / "m.py", 3) == "pkg/sub/m.py:3"
    assert line_at(project / "n.py", 4) == "src/n.py:4"
    assert line_at(tmp_path / "lone.py", 5) == "lone.py:5"
    assert line_at(ROOT / "variants" / "dora.py", 6) == "variants/dora.py:6"


@pytest.mark.parametrize("made", ["a/b.py:3", "a/b.py:3 (C.f)", "a/b.py:3 (pkg 1.2)"])
def test_a_place_reads_as_it_was_written(made: str) -> None:
    """An editor would open another line, or none."""
    file, line, words = split_line(made)
    assert made == f"{file}:{line}" + (f" ({words})" if words else "")
    assert split_line("unknown") == ("unknown", 0, "")


def test_what_names_a_tensor_in_a_class() -> None:
    """A tensor made by a registering call or under an index would not be found."""
    assert naming(stand_ins.Wrapper, "alpha") is not None
    assert naming(stand_ins.Wrapper, "nothing") is None

    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.ParameterDict()
            self.table["x"] = nn.Parameter(torch.zeros(1))
            for side in "uv":
                self.register_buffer(f"angle_{side}", torch.zeros(1))

    for name in ("table", "angle_u"):
        found = naming(Indexed, name)
        assert found is not None
        assert name.split("_")[0] in Path(found[0]).read_text(encoding="utf-8").splitlines()[found[1] - 1]
    assert naming(Indexed, "other_u") is None


PROGRAM = """
from tests.harness.test_places import OWN, trial_of
from conformance.measuring.places import reference_lines, subject_lines
for name in ("dora", "hra", "antipasto_rot"):
    for lines in (subject_lines(trial_of(OWN[name])), reference_lines(trial_of(OWN[name]))):
        print(lines and (lines.made, lines.filled, lines.used, lines.output))
"""


def test_the_lines_do_not_depend_on_the_folder_of_the_command(tmp_path: Path) -> None:
    """Two people would get two cards from one commit."""

    def ask(folder: Path) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    first = ask(ROOT)
    assert "variants/hra.py" in first
    assert str(ROOT) not in first
    assert ask(tmp_path) == first
