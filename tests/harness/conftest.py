"""What the tests of the harness start from: the toys' true findings, and runs that give them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.nouns.finding import Case, Finding
from conformance.planning.plan import make_plan
from conformance.running import collect
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from tests.harness import toys


@pytest.fixture(scope="session")
def toy_plan() -> tuple[Case, ...]:
    """Every planned case of a sound toy and of a wrong one."""
    return tuple(planned.case for planned in make_plan((toys.SOUND, toys.SHIFTED)))


@pytest.fixture(scope="session")
def toy_findings() -> dict[str, Finding]:
    """What the checks say of a sound toy and of a wrong one."""
    findings = (run_case(planned) for planned in make_plan((toys.SOUND, toys.SHIFTED)))
    return {finding.case: finding for finding in findings}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder outside git to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, toy_findings: dict[str, Finding]) -> dict[str, Finding]:
    """Both ways to run give these findings at once, and nothing is run."""
    found = dict(toy_findings)
    monkeypatch.setattr(collect, "through_pytest", lambda *a, **k: Evidence(found))
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence(found))
    return found
