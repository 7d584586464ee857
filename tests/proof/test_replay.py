"""The replay: a state of an old library that a written review misjudged."""

from __future__ import annotations

import pytest
import torch

from proof.replay import HISTORY, run


def test_every_state_has_its_row() -> None:
    """A variant of an old state would be left out, and its verdict never be asked for."""
    columns = {state: {row.column for row in HISTORY if row.state == state} for state in ("second", "third", "fourth")}
    second = {"lora", "pissa", "delora", "ia3", "dora", "hra"}
    assert columns == {
        "second": second,
        "third": second | {"eva", "antipasto"},
        "fourth": second | {"eva", "antipasto"},
    }


@pytest.mark.parametrize(("state", "column"), [("third", "hra"), ("third", "antipasto"), ("fourth", "dora")])
def test_a_sample_gets_the_verdict_it_deserves(state: str, column: str) -> None:
    """The harness would repeat what the review got wrong: reversed reflections called CORRECT."""
    torch.set_num_threads(1)
    rows = run(1, tuple(row for row in HISTORY if (row.state, row.column) == (state, column)))
    assert rows
    assert all(row.as_wanted for row in rows), rows
