"""What the tests of the harness start from: one thread, and the toys' true findings."""

from __future__ import annotations

import pytest
import torch

from conformance.model import Case, Finding
from conformance.plan import make_plan
from conformance.run import run_case
from tests.harness import toys


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are slower on many threads, and this machine is shared."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_plan() -> tuple[Case, ...]:
    """Every planned case of a sound toy and of a wrong one."""
    return tuple(planned.case for planned in make_plan((toys.SOUND, toys.SHIFTED)))


@pytest.fixture(scope="session")
def toy_findings(one_thread: None) -> dict[str, Finding]:
    """What the checks say of a sound toy and of a wrong one."""
    findings = (run_case(planned) for planned in make_plan((toys.SOUND, toys.SHIFTED)))
    return {finding.case: finding for finding in findings}
