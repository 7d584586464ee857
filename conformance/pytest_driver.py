"""One test per planned case. A test passes when its case was asked, whatever the answer: only the judge decides."""

from __future__ import annotations

import json

import pytest
import torch

from conformance.plan import Planned, make_plan
from conformance.run import run_case
from conformance.select import entries_at

torch.set_num_threads(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The plan as parameters."""
    plan = make_plan(entries_at(metafunc.config.getoption("--entries")))
    metafunc.parametrize("planned", [pytest.param(p, id=p.case.id) for p in plan])


def test_case(planned: Planned, record_property) -> None:  # type: ignore[no-untyped-def]
    """Asks one question and hands the finding to the process that gathers the evidence."""
    record_property("finding", json.dumps(run_case(planned).to_json()))
