"""The command line in a world against it: another folder, the user's pytest settings, files that shadow ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TOYS = "tests.harness.toys"
PLUGIN = "import pytest\ndef pytest_collection_modifyitems(items):\n    items.clear()\n"
SHADOW = "raise RuntimeError('this file is not yours to import')\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a pytest configuration, a conftest and modules named like ours and like the standard library's."""
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -k nothing\npython_functions = nothing\n")
    (tmp_path / "emptying.py").write_text(PLUGIN)
    for name in ("variants", "refs", "conformance", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(SHADOW)
    for name in ("json.py", "evidence.py", "pytest.py", "select.py"):
        (tmp_path / name).write_text(SHADOW)
    return tmp_path


def conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, run in a folder, with an environment that asks pytest to run nothing."""
    settings = {"PYTEST_ADDOPTS": "-k nothing -p no:xdist -p no:timeout", "PYTEST_PLUGINS": "emptying"}
    start = "import sys; from conformance.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", start, *arguments],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_ways_to_run_agree_byte_for_byte_in_a_hostile_folder(hostile: Path) -> None:
    """The user's folder or settings could empty a run, or decide what is imported; or the two ways would differ."""
    audit = conformance(hostile, "audit", "--entries", f"{TOYS}:ONE", "--out", "reports")
    assert (audit.returncode, audit.stderr.count("Traceback")) == (0, 0), audit.stderr
    before = {path.name: path.read_bytes() for path in (hostile / "reports").iterdir()}
    assert before["sound.md"].startswith(b"# sound: CORRECT\n")
    run = conformance(hostile, "run", "--reports", "reports", "--entries", f"{TOYS}:ONE", "--workers", "1")
    assert (run.returncode, "GATE" in run.stderr) == (0, False), run.stdout + run.stderr
    assert {path.name: path.read_bytes() for path in (hostile / "reports").iterdir()} == before


def test_an_empty_plan_shuts_the_gate(tmp_path: Path) -> None:
    """An empty roster would exit with 0, as an empty parametrisation does."""
    run = conformance(tmp_path, "run", "--reports", "reports", "--entries", f"{TOYS}:NOBODY", "--workers", "1")
    assert run.returncode == 1
    assert "GATE: nothing was audited: the plan is empty" in run.stderr
