"""The page is written at the end of a run of an hour: what would break it must show before that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proof import pool, report
from proof.alarms import Spared
from proof.corrupted.run import Turned
from proof.matrix import Killed
from proof.mutation.runtime import TriedInRuntime
from proof.mutation.trial import KEY, Tried
from proof.replay import Replayed
from proof.sensitivity import Seen

AT = ("core", "other number", "1", "2")
KILLED = [Killed("Wrong", "it is wrong | really", "lora", "", "forward", "MUST-FIX", {"forward": "a/b/forward/c"}, ())]
SPARED = [Spared("Right", "in other words", "lora", "CORRECT", "CORRECT", 3, "")]
MORE = {
    "mutants": [
        Tried("variants/lora.py", 7, *AT, "killed", killer="lora/closed:lora/forward/t0"),
        Tried("variants/lora.py", 8, *AT, "survived", reason="a gap"),
    ],
    "runtime_mutants": [
        TriedInRuntime("variants/runtime/merge.py", 7, *AT, "killed", killer="tests/runtime/test_merge.py::test_it"),
        TriedInRuntime("variants/runtime/merge.py", 9, *AT, "survived"),
    ],
    "sensitivity": [Seen("lora", {"A": {"contribution": 11, "gradient": 12, "start": 0}})],
    "replayed": [Replayed("second", "lora", "lora", "none", "CORRECT", "CORRECT", "", "", ())],
    "corrupted": [Turned("a loop reversed", "hra", "layer.py::f", "UNPROVEN", "BUGGY", 3, "BUGGY")],
}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """A page and its data from one row of each kind."""
    parts = [report.seeded_part(KILLED), report.runtime_part(MORE["runtime_mutants"])]
    return report.render(parts, KILLED, SPARED, **MORE)


def test_every_part_is_on_the_page(files: dict[str, str]) -> None:
    """A part would be run and nobody would read what it found."""
    text = files[report.MARKDOWN]
    assert "| Wrong | it is wrong \\| really |" in text
    assert "| variants/runtime/merge.py | 1 | 0 | 0 | 1 | tests/runtime/test_merge.py 1 |" in text
    assert "| lora | A | 1e-11 | 1e-12 | not at 0.1 |" in text
    assert "survivor without a reason in known.json: variants/runtime/merge.py:9" in text


def test_the_data_have_a_line_for_each_row_and_what_the_next_run_needs(files: dict[str, str]) -> None:
    """A change of one row would be a difference of the whole file, or the next run would begin from nothing."""
    text = files[report.DATA]
    data = json.loads(text)
    rows = [row for part in data.values() for row in part]
    assert len(text.splitlines()) <= len(rows) + 2 * len(data)
    assert {*KEY, "killer"} <= data["mutants"][0].keys()
    assert {"bug", "like", "kills"} <= data["seeded_faults"][0].keys()


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    """A run would begin anew each time, or take an answer for another job's."""
    with pool.keeping(tmp_path, seconds=0), pytest.raises(pool.OutOfTimeError, match="0 of 2"):
        pool.each(abs, [-1, -2], workers=1)
    with pool.keeping(tmp_path):
        assert pool.each(abs, [-1, -2], workers=1) == [1, 2]
    with pool.keeping(tmp_path, seconds=0):
        assert pool.each(abs, [-2, -1], workers=1) == [2, 1]
        with pytest.raises(pool.OutOfTimeError, match="1 of 2") as stopped:
            pool.each(abs, [-1, -3], workers=1)
        assert (stopped.value.answers, stopped.value.left) == ([1], 1)


def test_what_was_not_tried_is_counted() -> None:
    """A page written from half of the mutants would read as the whole."""
    rows = MORE["runtime_mutants"]
    assert "3 not tried yet" in report.runtime_part(rows, 3).result
    assert "not tried" not in report.runtime_part(rows).result
