"""One test per planned case. A test passes when its case was asked, whatever the answer: only the judge decides."""

from __future__ import annotations

import json

import pytest
import torch

from conformance.plan import Planned, make_plan
from conformance.roster import ENTRIES
from conformance.run import run_case

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "planned",
    [pytest.param(p, id=p.case.id, marks=pytest.mark.xdist_group(p.case.variant)) for p in make_plan(ENTRIES)],
)
def test_case(planned: Planned, record_property) -> None:  # type: ignore[no-untyped-def]
    """Asks one question and hands the finding to the process that gathers the evidence."""
    record_property("finding", json.dumps(run_case(planned).to_json()))
