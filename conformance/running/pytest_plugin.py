"""Gather the findings of all pytest workers in the controlling process and write them as one evidence file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.nouns.finding import Finding, Outcome
from conformance.running import evidence
from conformance.running.environment import environment

LETTERS = {Outcome.AGREE: ".", Outcome.DIFFER: "D", Outcome.NOT_APPLICABLE: "n", Outcome.ERROR: "E"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the run, which the child gets on its command line."""
    parser.addoption("--evidence", help="where the evidence of the run goes")
    parser.addoption("--nonce", default="", help="the name of the run, written into its evidence")
    parser.addoption("--entries", metavar="MODULE:ATTRIBUTE", help="whom to audit instead of the roster")


def pytest_configure(config: pytest.Config) -> None:
    """Register what gathers the findings, in the process that has them all."""
    if not hasattr(config, "workerinput") and config.getoption("--evidence"):
        config.pluginmanager.register(
            Gatherer(Path(config.getoption("--evidence")), config.getoption("--nonce")), "conformance-gatherer"
        )


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a finding by its outcome instead of passed or failed."""
    finding = _finding(report)
    if finding is None:
        return None
    name = finding.outcome.value
    return ("passed" if finding.outcome is Outcome.AGREE else name.lower(), LETTERS[finding.outcome], name)


class Gatherer:
    """Collects findings as the reports come in; the file is written once, at the end."""

    def __init__(self, path: Path, nonce: str) -> None:
        self.path, self.nonce = path, nonce
        self.findings: list[Finding] = []
        path.unlink(missing_ok=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the finding of a test that ran to its end."""
        finding = _finding(report)
        if finding is not None:
            self.findings.append(finding)

    def pytest_sessionfinish(self) -> None:
        """Write the evidence with its footer. What is missing in it, the judge sees by the plan."""
        evidence.write(self.path, self.findings, nonce=self.nonce, environment=environment())


def _finding(report: pytest.TestReport) -> Finding | None:
    if report.when != "call" or not report.passed:
        return None
    found = dict(report.user_properties).get("finding")
    return Finding.from_json(json.loads(str(found))) if found is not None else None
