"""The page for other people's code: each of its files runs as written, by each way to be asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from conformance.cli import main
from conformance.foreign.preflight import preflight
from conformance.nouns.verdict import Label
from conformance.planning.plan import make_plan
from conformance.planning.select import entries_at
from conformance.reporting import report
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your-own-code.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
THEIRS = """
import torch
from torch import nn


class TheirMethod(nn.Module):
    def __init__(self, base, r):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Linear(base.in_features, r, bias=False).requires_grad_(False)
        self.lora_B = nn.Linear(r, base.out_features, bias=False)
        self.vector = nn.Parameter(torch.zeros(r))

    def forward(self, x):
        return self.base(x) + self.lora_B(self.vector * self.lora_A(x))
"""
for each in ("peft", "conformance.foreign.asked"):
    import_module(each)  # pytester forgets what a run within it imports first


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with every file of the page, and the module that its reader has already."""
    for name, text in {**FILES, "their_method.py": THEIRS}.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(pytester.path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield pytester.path
    for name in (*FILES, "their_method.py"):
        sys.modules.pop(name.removesuffix(".py"), None)


def card(place: str) -> CardView:
    """The whole audit of the one entry there."""
    entries = entries_at(place)
    preflight(entries)
    findings = {planned.case.id: run_case(planned) for planned in make_plan(entries)}
    (view,) = report.judged(entries, Evidence(findings), place)
    return view


def test_the_page_has_every_file() -> None:
    """The tests below would look at nothing."""
    audits = ("mine", "formula", "beside", "numbers")
    wanted = {"my_lora", "test_my_lora", "test_as_a_function", "my_method", *(f"audit_{name}" for name in audits)}
    assert {f"{name}.py" for name in wanted} == FILES.keys()


def test_the_projects_own_tests_pass(pytester: pytest.Pytester) -> None:
    """The three lines that a reader copies would fail, or ask nothing."""
    result = pytester.runpytest("-p", "conformance.foreign.pytest_plugin", "-q", "-k", "my_lora and not space")
    ended = result.parseoutcomes()
    assert ended["passed"] >= 16
    assert ended.keys() <= {"passed", "deselected", "warnings", "warning"}


def test_what_the_page_shows_of_a_failure_is_what_is_said(pytester: pytest.Pytester) -> None:
    """The page would show words that no reader ever sees."""
    wrong = FILES["my_lora.py"].replace("alpha / r", "1.0")
    (pytester.path / "my_lora.py").write_text(wrong, encoding="utf-8")
    result = pytester.runpytest("-p", "conformance.foreign.pytest_plugin", "test_my_lora.py", "-k", "forward")
    shown = re.search(r"\n```\n(\(\d+ cases\).*?)\.\.\.'\n```", PAGE, re.DOTALL)
    assert shown is not None
    for line in shown[1].splitlines():
        assert line.strip() in result.stdout.str()


def test_the_command_and_the_hook_give_a_verdict(project: Path) -> None:
    """The hook that a reader copies would run something else than the command, or pass whatever it is given."""
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    config, _ = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    (chosen,) = config["repos"][0]["hooks"]
    assert re.search(chosen["files"], "my_lora.py")
    command = [*hooks[chosen["id"]]["entry"].split(), *chosen["args"]]
    assert command == ["conformance", "audit", "--entries", "audit_mine.py:ENTRY"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**CORRECT**" in (project / ".conformance" / "reports" / "my_lora.md").read_text(encoding="utf-8")


def test_a_formula_of_ones_own() -> None:
    """A method that is not here could not be asked about."""
    view = card("audit_formula.py:ENTRY")
    assert view.verdict.label is Label.CORRECT, view.verdict.reason


def test_another_implementation_and_its_lock(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock would not be where the page says, or not make the difference that it says."""
    assert card("audit_beside.py:ENTRY").verdict.label is Label.UNPROVEN
    assert main(["record", "lock", "--entries", "audit_beside.py:ENTRY"]) == 0
    assert "audit_beside.lock.json: " in capsys.readouterr().out
    assert (project / "audit_beside.lock.json").is_file()
    view = card("audit_beside.py:ENTRY")
    assert view.verdict.label is Label.CORRECT, view.verdict.reason


def test_recorded_numbers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The vectors would not be where the page says, or not be asked."""
    assert card("audit_numbers.py:ENTRY").verdict.label is Label.UNPROVEN
    assert main(["record", "vectors", "--entries", "audit_numbers.py:ENTRY"]) == 0
    assert "13 vectors of my_method (my_method.py:" in capsys.readouterr().out
    view = card("audit_numbers.py:ENTRY")
    assert view.verdict.label is Label.CORRECT, view.verdict.reason
    assert main(["record", "vectors", "--entries", "audit_numbers.py:ENTRY"]) == 2
    assert main(["record", "lock", "--entries", "audit_numbers.py:ENTRY"]) == 2


WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8"))


def test_the_workflow_takes_what_the_page_passes() -> None:
    """A reader's workflow would be refused, or a value of it be run as code."""
    _, text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (job,) = yaml.safe_load(text)["jobs"].values()
    called = WORKFLOW[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as true
    assert job["uses"].startswith("OWNER/adapter-conformance/.github/workflows/audit.yml@")
    assert job["with"].keys() <= called.keys()
    assert {name for name, about in called.items() if about.get("required")} <= job["with"].keys()
    assert not [step["run"] for step in WORKFLOW["jobs"]["audit"]["steps"] if "${{" in step.get("run", "")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the step is written for bash")
@pytest.mark.parametrize(("status", "reports"), [(0, ""), (1, "audits"), (2, "")])
def test_the_workflows_step_reports_and_fails(project: Path, status: int, reports: str) -> None:
    """A job would be green on a wrong adapter, or end without a word about it."""
    (script,) = (step["run"] for step in WORKFLOW["jobs"]["audit"]["steps"] if step.get("name") == "audit")
    told = project / "told"
    shim = project / "conformance"
    shim.write_text(f'#!/bin/sh\necho "$@" >> {told}\n[ "$1" = run ] && exit {status}\nexit 0\n', encoding="utf-8")
    shim.chmod(0o755)
    environment = {"PATH": f"{project}{os.pathsep}{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": "summary.md"}
    environment |= {"ENTRIES": "audit_mine.py:ENTRY", "REPORTS": reports}
    done = subprocess.run(
        ["bash", "--norc", "-eo", "pipefail", "-c", script], cwd=project, env=environment, check=False
    )
    assert done.returncode == status
    asked = told.read_text(encoding="utf-8").splitlines()
    assert asked[0] == "run --entries audit_mine.py:ENTRY" + (" --reports audits" if reports else "")
    after = ["report --entries audit_mine.py:ENTRY --annotations --summary summary.md"]
    assert asked[1:] == (after if status != 2 else [])
