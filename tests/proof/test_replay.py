"""The replay: a state of an old library that a written review misjudged."""

from __future__ import annotations

import pytest

from proof.ask import QUICK_CHECKS
from proof.replay import HISTORY, run

pytestmark = pytest.mark.integration


def test_every_state_has_its_row() -> None:
    """A variant of an old state would be left out, and its verdict never be asked for."""
    columns = {state: {row.column for row in HISTORY if row.state == state} for state in ("second", "third", "fourth")}
    second = {"lora", "pissa", "delora", "ia3", "dora", "hra"}
    assert columns == {
        "second": second,
        "third": second | {"eva", "antipasto"},
        "fourth": second | {"eva", "antipasto"},
    }


SAMPLE = [("third", "hra"), ("third", "antipasto"), ("fourth", "dora")]


@pytest.mark.parametrize(("state", "column"), SAMPLE)
@pytest.mark.parametrize(
    "checks",
    [
        pytest.param(("forward", "init", "gradients"), id="three checks"),
        pytest.param(QUICK_CHECKS, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_sample_gets_the_verdict_it_deserves(checks: tuple[str, ...], state: str, column: str) -> None:
    """The harness would repeat what the review got wrong: reversed reflections called CORRECT."""
    rows = run(1, tuple(row for row in HISTORY if (row.state, row.column) == (state, column)), checks)
    assert rows
    assert all(row.as_wanted for row in rows), rows
