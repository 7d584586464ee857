"""The toys' true findings as a judged run, and as a site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.checks.registry import CHECKS
from conformance.nouns.finding import Finding
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.html import documents
from conformance.reporting.html.site import Audited, site
from conformance.reporting.over_time.history import Revision
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from tests.harness import toys

ROOT = Path(__file__).parents[2]
ENTRIES = (toys.SOUND, toys.SHIFTED, toys.UNREFERENCED)
QUESTIONS = {check.name: check.question for check in CHECKS}
MACHINE = {
    "platform": "Linux",
    "cpu": "a processor",
    "versions": {"torch": "2", "peft": "1"},
    "commit": "0123456789abcdef",
}
PAST = (Revision("abc1234", "First", {"sound": "CORRECT"}), Revision("def5678", "Then", {"sound": "PARTIAL"}))


@pytest.fixture(scope="session")
def findings() -> dict[str, Finding]:
    """What the checks say of a sound toy and of a wrong one."""
    return {f.case: f for f in map(run_case, make_plan((toys.SOUND, toys.SHIFTED)))}


@pytest.fixture(scope="session")
def shown(findings: dict[str, Finding]) -> tuple[CardView, ...]:
    """A sound toy, a wrong one, and one without a reference, judged."""
    return report.judged(ENTRIES, Evidence(findings))


@pytest.fixture(scope="session")
def costs() -> dict[str, Any]:
    """Costs of a variant called like the sound toy: those of lora as committed."""
    data: dict[str, Any] = json.loads((ROOT / "reports" / "cost.json").read_text(encoding="utf-8"))
    for part in (data["counts"]["counted"], data["times"]["timed"]):
        for row in part:
            row["name"] = {"lora": "sound"}.get(row["name"], row["name"])
    return data


@pytest.fixture(scope="session")
def checkout() -> dict[str, str]:
    """The documents of the repository, and the source of the toys."""
    return documents.read(ROOT, ["tests/harness/toys.py"])


@pytest.fixture(scope="session")
def pages(shown: tuple[CardView, ...], costs: dict[str, Any], checkout: dict[str, str]) -> dict[str, str]:
    """The whole site of two libraries."""
    runs = (Audited("toys", shown, MACHINE), Audited("others", shown[:1], {}))
    return site(runs, questions=QUESTIONS, costs=costs, history=PAST, checkout=checkout)
