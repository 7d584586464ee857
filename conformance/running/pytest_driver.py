"""One test per planned case. A test passes when its case was asked, whatever the answer: only the judge decides.

The cases are items of their own kind, without fixtures and so without set-up and tear-down: for thousands of cases of
a few milliseconds each, what pytest does around a test function would be much of the time. Only the workers, which
collect and run them, import torch; the process that deals them out need not.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.running.limits import given_up
from conformance.running.pytest_plugin import given_up_of

if TYPE_CHECKING:
    from conformance.planning.plan import Planned

DRIVER = Path(__file__)


class CaseItem(pytest.Item):
    """One planned case."""

    planned: Planned

    def runtest(self) -> None:
        """Ask one question and hand the finding to the process that gathers the evidence."""
        from conformance.running.run import run_case

        given = given_up_of(Path(self.config.getoption("--evidence") or os.devnull))
        answer = given_up(self.name) if self.planned.case.variant in given else run_case(self.planned)
        self.user_properties.append(("finding", json.dumps(answer.to_json())))


class Plan(pytest.File):
    """All cases of the roster, or of ``--entries``, in the order of the plan."""

    def collect(self) -> Iterator[CaseItem]:
        """One pytest item per planned case. What is imported for them stays: no garbage collection looks at it."""
        gc.disable()
        import torch

        from conformance.planning.plan import make_plan
        from conformance.planning.select import entries_at
        from conformance.running.imports import import_for

        torch.set_num_threads(1)
        plan = make_plan(entries_at(self.config.getoption("--entries")))
        import_for(plan)
        gc.freeze()
        gc.enable()
        for planned in plan:
            item: CaseItem = CaseItem.from_parent(self, name=planned.case.id)
            item.planned = planned
            yield item


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Plan | None:
    """The plan, for which this file stands."""
    return Plan.from_parent(parent, path=file_path) if file_path == DRIVER else None


def pytest_runtest_protocol(item: pytest.Item) -> bool:
    """One call and one report, without the messages about its start and its end, which nobody reads."""
    hook = item.ihook
    call = pytest.CallInfo.from_call(
        lambda: hook.pytest_runtest_call(item=item),
        when="call",
        reraise=(pytest.exit.Exception, KeyboardInterrupt),
    )
    hook.pytest_runtest_logreport(report=hook.pytest_runtest_makereport(item=item, call=call))
    return True
