"""Gather the findings of all pytest workers in the controlling process and write them as one evidence file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.nouns.finding import Outcome
from conformance.running import evidence
from conformance.running.background import Bar
from conformance.running.children import end_with_the_parent
from conformance.running.environment import environment
from conformance.running.limits import GIVE_UP_AFTER
from conformance.running.listen import stream_of

LETTERS = {Outcome.AGREE: ".", Outcome.DIFFER: "D", Outcome.NOT_APPLICABLE: "n", Outcome.ERROR: "E"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the run, which the child gets on its command line."""
    parser.addoption("--evidence", help="where the evidence of the run goes")
    parser.addoption("--nonce", default="", help="the name of the run, written into its evidence")
    parser.addoption("--entries", metavar="MODULE:ATTRIBUTE", help="whom to audit instead of the roster")


def pytest_configure(config: pytest.Config) -> None:
    """End with the parent; register what gathers the findings, in the process that has them all."""
    end_with_the_parent()
    if not hasattr(config, "workerinput") and config.getoption("--evidence"):
        config.pluginmanager.register(
            Gatherer(Path(config.getoption("--evidence")), config.getoption("--nonce")), "conformance-gatherer"
        )


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a finding by its outcome instead of passed or failed."""
    row = _row(report)
    if row is None:
        return None
    outcome = Outcome(row["outcome"])
    return ("passed" if outcome is Outcome.AGREE else outcome.value.lower(), LETTERS[outcome], outcome.value)


class Gatherer:
    """Collects findings as the reports come in. They are written as one file at the end, and until then as a stream,
    from which a run that is ended by force is judged.
    """

    def __init__(self, path: Path, nonce: str) -> None:
        self.path, self.nonce = path, nonce
        self.rows: list[dict[str, Any]] = []
        self.lost: dict[str, int] = {}
        self.planned = False
        self.bar: Bar | None = None
        path.unlink(missing_ok=True)
        given_up_file(path).unlink(missing_ok=True)
        self.stream = stream_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.out = self.stream.open("w", encoding="utf-8")
        self._say(evidence.header(self.nonce))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The first worker's cases: all workers have the same."""
        if not self.planned:
            self.planned = True
            self.bar = Bar("\naudit", len(ids), live=False) if ids else None  # the signs of the cases have the line
            self._say({"plan": [_case(each) for each in ids]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the finding of a test that ran to its end; a variant that loses too many is given up."""
        row = _row(report)
        if self.bar is not None and (row is not None or report.failed):
            self.bar.step()
        if row is not None:
            self.rows.append(row)
            self._say(row)
        elif report.failed:
            variant = _case(report.nodeid).split("/")[0]
            self.lost[variant] = self.lost.get(variant, 0) + 1
            given = [name for name, n in self.lost.items() if n >= GIVE_UP_AFTER]
            given_up_file(self.path).write_text("\n".join(given), encoding="utf-8")

    def pytest_sessionfinish(self) -> None:
        """Write the evidence with its footer. What is missing in it, the judge sees by the plan."""
        evidence.write_rows(self.path, self.rows, nonce=self.nonce, environment=environment())
        self.out.close()
        self.stream.unlink(missing_ok=True)
        given_up_file(self.path).unlink(missing_ok=True)

    def _say(self, row: dict[str, Any]) -> None:
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()  # whoever ends this process by force reads what was said until then


def given_up_file(path: Path) -> Path:
    """Where the process that gathers evidence for ``path`` tells those that run cases which variants are given up."""
    return Path(f"{path}.given-up")


def given_up_of(path: Path) -> list[str]:
    """The variants of which no case is to be asked any more."""
    try:
        return given_up_file(path).read_text(encoding="utf-8").splitlines()
    except OSError:  # none yet
        return []


def _case(nodeid: str) -> str:
    return nodeid.partition("::")[2]


def _row(report: pytest.TestReport) -> dict[str, Any] | None:
    """The finding of a test as its row of the evidence, which is read and checked when the evidence is judged."""
    if report.when != "call" or not report.passed:
        return None
    found = dict(report.user_properties).get("finding")
    row: dict[str, Any] | None = json.loads(str(found)) if found is not None else None
    return row
