"""A save that is killed leaves the old file or the new one, whole, and nothing that later saves do not remove."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from variants.runtime.atomic_file import LEFTOVER

# One run of them, which every test looks at.
pytestmark = [pytest.mark.xdist_group("killed saves"), pytest.mark.integration]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills hit forks")
Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What ``killed_saves`` saw."""
    command = [sys.executable, "-m", "tests.runtime.killed_saves", str(tmp_path_factory.mktemp("killed"))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Found] = json.loads(done.stdout)
    return result


def states(entries: Found) -> list[str]:
    """In order."""
    return [each["state"] for each in entries]


@forks
def test_killed_at_every_line(found: dict[str, Found]) -> None:
    """Otherwise there would be a line of the code between the old file and the new one."""
    *killed, unharmed = found["lines"]
    assert all(each["hit"] for each in killed)
    assert len(killed) >= 50
    assert not unharmed["hit"]
    old = states(killed).count("old")
    assert states(killed) == ["old"] * old + ["new"] * (len(killed) - old)
    assert 0 < old < len(killed)
    assert unharmed["state"] == "new"


@forks
def test_killed_around_every_call_of_the_system(found: dict[str, Found]) -> None:
    """Otherwise the file would be exchanged elsewhere than in the one call that exchanges it at once."""
    assert all(each["hit"] for each in found["calls"])
    where = {each["where"]: each for each in found["calls"]}
    order = list(where)
    turn = order.index("after os.replace 1")
    assert {where[each]["state"] for each in order[:turn]} == {"old"}
    assert {where[each]["state"] for each in order[turn:]} == {"new"}
    assert where["before os.fsync 1"]["left"], "the file is not written beside the path"


@forks
def test_killed_while_writing(found: dict[str, Found]) -> None:
    """Otherwise part of a file would stand where a whole one is expected."""
    assert {(each["hit"], each["state"], len(each["left"])) for each in found["writes"]} == {(True, "old", 1)}
    assert len(found["writes"]) == 9


@forks
def test_killed_at_any_moment(found: dict[str, Found]) -> None:
    """Otherwise a kill from outside, which knows nothing of lines and calls, would find a gap."""
    assert len(found["moments"]) >= 50
    assert all(each["hit"] for each in found["moments"])
    assert set(states(found["moments"])) == {"old", "new"}


@forks
def test_nothing_else_is_left(found: dict[str, Found]) -> None:
    """Otherwise a kill would leave something that later saves do not know to remove."""
    left = [name for part in found.values() for each in part for name in each.get("left", ())]
    assert left
    assert all(LEFTOVER.fullmatch(name) for name in left)


@forks
def test_rivals(found: dict[str, Found]) -> None:
    """Otherwise of two processes that save to one path, one would write into the other's file, or a reader see it."""
    *seen, end = found["rivals"]
    assert len(seen) >= 50
    assert set(states(seen)) == {"old", "new"}
    assert end["state"] in ("old", "new")
    assert not end["left"]
    assert not end["failed"]
