"""The results as data: what is rendered fits the published schema, and the schema refuses what does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance.judging.judge import judge
from conformance.nouns.finding import Case, Finding
from conformance.reporting import cards, report
from conformance.running.evidence import Evidence
from tests.harness import toys
from tests.harness.world import deviation

SCHEMA = json.loads(Path(cards.__file__).with_name("results.schema.json").read_text(encoding="utf-8"))
ENTRIES = (toys.SOUND, toys.SHIFTED, toys.UNREFERENCED)


def valid(data: Any) -> bool:
    """Whether the schema takes it."""
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(data))


@pytest.fixture(scope="module")
def results(toy_findings: dict[str, Finding], toy_plan: tuple[Case, ...]) -> dict[str, Any]:
    """Results in which every kind of thing is to be found."""
    declared = deviation("*/low_precision/*", by_default=True)
    names = [entry.name for entry in ENTRIES]
    verdicts = judge(names, toy_plan, toy_findings, {"shifted": (declared,)})
    data: dict[str, Any] = cards.results(cards.views(ENTRIES, verdicts, toy_plan))
    assert data["variants"]["shifted"]["deviations"]
    assert data["variants"]["shifted"]["findings"]
    return data


def test_the_schema_is_one() -> None:
    """A schema with a slip in it takes anything."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_results_of_every_kind_fit(results: dict[str, Any]) -> None:
    """Whoever reads the results by the schema would meet something else."""
    jsonschema.Draft202012Validator(SCHEMA).validate(results)


def test_results_without_any_evidence_fit() -> None:
    """The results of a run that died could not be read."""
    shown = report.judged(ENTRIES, Evidence({}, "the run did not end"))
    jsonschema.Draft202012Validator(SCHEMA).validate(cards.results(shown))


def test_the_committed_results_fit() -> None:
    """The committed results would be of another form than the one that is published."""
    path = Path(__file__).parents[2] / "reports" / "results.json"
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(path.read_text(encoding="utf-8")))


def test_everything_in_the_schema_is_described_and_closed() -> None:
    """A field could be added to the results without a word, or a reader not know what one means."""

    def walk(node: dict[str, Any], path: str) -> None:
        if node.get("type") == "object":
            assert "additionalProperties" in node, path
            assert set(node.get("required", [])) == set(node.get("properties", {})), path
        for name, below in {**node.get("properties", {}), **node.get("$defs", {})}.items():
            assert "description" in below or "$ref" in below, f"{path}.{name}"
            walk(below, f"{path}.{name}")

    walk(SCHEMA, "results")


def _in_result(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda data: change(data["variants"]["shifted"])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(when="2026-11-21"),
        lambda d: d.update(format=2),
        lambda d: d.pop("variants"),
        _in_result(lambda r: r.update(verdict="FINE")),
        _in_result(lambda r: r.update(error=1e-9)),
        _in_result(lambda r: r.update(planned=-1)),
        _in_result(lambda r: r.pop("reason")),
        _in_result(lambda r: r["sections"].update(forward="fine")),
        _in_result(lambda r: r["sections"].pop("forward")),
        _in_result(lambda r: r["findings"][0].update(severity="MAYBE")),
        _in_result(lambda r: r["findings"][0].update(cases=0)),
        _in_result(lambda r: r["findings"][0].update(error=1e-9)),
        _in_result(lambda r: r["findings"][0].update(subject="somewhere")),
        _in_result(lambda r: r["deviations"][0].update(cases=[])),
        _in_result(lambda r: r["deviations"][0].update(by_default="yes")),
    ],
)
def test_what_does_not_fit(results: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    """The schema would take anything, and a figure or a time could slip into the results."""
    data = copy.deepcopy(results)
    assert valid(data)
    change(data)
    assert not valid(data)
