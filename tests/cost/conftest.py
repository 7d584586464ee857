"""One thread, as the counts have, and the counts of both sides where the gates ask for them: each counted once."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from conformance.cost.measure import Counted, counted
from conformance.cost.points import COUNTED
from conformance.cost.subjects import contenders
from subjects.own.roster import ENTRIES


@pytest.fixture(autouse=True)
def few_to_collect() -> Iterator[None]:
    """Each count collects garbage first; without the tens of thousands of modules' objects that takes no second."""
    gc.freeze()
    yield
    gc.unfreeze()


class Counts:
    """The counts by name of the variant."""

    def __init__(self) -> None:
        self.found: dict[str, Counted] = {}

    def __getitem__(self, name: str) -> Counted:
        if name not in self.found:
            (entry,) = (entry for entry in ENTRIES if entry.name == name)
            (contender,) = contenders((entry,))
            self.found[name] = counted(contender, COUNTED)
        return self.found[name]


@pytest.fixture(scope="session")
def counts() -> Counts:
    """At 1024 x 1024, 512 tokens, rank 16, float32."""
    return Counts()
