"""A row says which code, which arguments and which files it comes from, and no two settings share an id."""

from __future__ import annotations

import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark import provenance, report, table
from benchmark.__main__ import main
from benchmark.settings import BARE, Settings, group_id, run_id
from conformance.planning.names import BadRequest
from learning.options import parsed
from variants import AdapterError

ARROW = Settings(variant="antipasto_arrow", model=Path("m"), train=Path("a"), test=Path("b"), lr=1e-3)
DATA = {"model_digest": "1"}
OTHER: dict[type, Any] = {int: lambda n: n + 1, float: lambda x: x / 2 + 0.1, bool: lambda b: not b}
TEXTS: dict[str, Any] = {"variant": "antipasto", "dtype": "float32", "kinds": "GSM", "targets": ("q_proj",)}


def test_every_argument_tells_runs_apart() -> None:
    """Two points of a sweep would be taken for two seeds of one."""
    rot = replace(ARROW, variant="antipasto_rot")
    sweep = [replace(ARROW, options=(each,)) for each in ("block=2", "block=4", "r=16", "r=32", "coeff=2.0")]
    sweep += [replace(rot, options=(f"rotate_basis={each}",)) for each in ("U", "V")]
    for field in fields(Settings):
        value = getattr(ARROW, field.name)
        if field.name not in ("model", "train", "test", "seed", "options"):
            other = TEXTS[field.name] if field.name in TEXTS else OTHER[type(value)](value)
            sweep.append(replace(ARROW, **{field.name: other}))
    ids = [run_id(each, DATA, "c") for each in (ARROW, *sweep)]
    groups = [group_id(each, DATA) for each in (ARROW, *sweep)]
    assert len({*ids}) == len({*groups}) == len(sweep) + 1
    other_code, other_files = run_id(ARROW, DATA, "d"), run_id(ARROW, {"model_digest": "2"}, "c")
    other_seed = replace(ARROW, seed=5)
    assert len({ids[0], other_code, other_files, run_id(other_seed, DATA, "c")}) == 4
    assert group_id(other_seed, DATA) == groups[0]


def test_a_default_that_is_written_out_is_the_same_run() -> None:
    """The same run would count twice in a mean over seeds."""
    assert run_id(replace(ARROW, options=("block=8",)), DATA, "c")[-8:] == run_id(ARROW, DATA, "c")[-8:]


def test_options_are_those_of_the_config() -> None:
    """A misspelt option would silently do nothing."""
    with pytest.raises(AdapterError, match="Did you mean block"):
        replace(ARROW, options=("blok=2",)).config()
    assert parsed(("r=4", "rotation=cayley", "dropout=0.1")) == {"r": 4, "rotation": "cayley", "dropout": 0.1}
    for wrong in (("r",), ("r=1", "r=2"), ("targets=x",)):
        with pytest.raises(BadRequest, match="--set"):
            parsed(wrong)
    with pytest.raises(BadRequest, match="--steps: got 0"):
        replace(ARROW, steps=0)


def test_no_commit_no_row(tmp_path: Path) -> None:
    """A row would say ``unknown``, or name a commit that has other code."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True)

    def commit(results: str = "out/r.tsv", dirty: bool = False) -> str:
        return provenance.commit(tmp_path / results, dirty=dirty, root=tmp_path)

    with pytest.raises(BadRequest, match="not committed in git"):
        commit(dirty=True)
    (tmp_path / "benchmark").mkdir()
    code = tmp_path / "benchmark" / "__init__.py"
    code.write_text("")
    git("init", "-q")
    with pytest.raises(BadRequest, match="not committed in git"):
        commit()
    git("add", ".")
    git("commit", "-qm", "first")
    head = commit()
    assert len(head) == 40
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "r.tsv").write_text("results do not count")
    assert commit() == head
    (tmp_path / "out" / "r.tsv").unlink()
    (tmp_path / "benchmark" / "r.tsv").write_text("nor here")
    assert commit("benchmark/r.tsv") == head
    (tmp_path / "benchmark" / "r.tsv").unlink()
    code.write_text("changed = 1\n")
    with pytest.raises(BadRequest, match=r"not committed \(benchmark/__init__.py\)"):
        commit("benchmark/r.tsv")
    with pytest.raises(BadRequest, match=r"not committed \(benchmark/__init__.py\)"):
        commit()
    first = commit(dirty=True)
    assert first.startswith(f"{head}+")
    (tmp_path / "new.py").write_text("1")
    second = commit(dirty=True)
    (tmp_path / "new.py").write_text("2")
    assert len({first, second, commit(dirty=True)}) == 3


def test_a_table_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    """Values would be written under the wrong names."""
    path = tmp_path / "r.tsv"
    table.append(path, {"run_id": "a", "note": 'tab\tand "quote"'})
    table.append(path, {"run_id": "b", "note": ""})
    assert table.rows(path) == [{"run_id": "a", "note": 'tab\tand "quote"'}, {"run_id": "b", "note": ""}]
    before = path.read_bytes()
    for other in ({"run_id": "c"}, {"note": "", "run_id": "c"}, {"run_id": "c", "note": "", "more": 1}):
        with pytest.raises(BadRequest, match="other columns"):
            table.append(path, other)
    assert path.read_bytes() == before
    path.write_text("run_id\tnote\na\tb\tc\n")
    with pytest.raises(BadRequest, match="line 2"):
        table.rows(path)


def row(variant: str, seed: int, right: int, **more: str) -> dict[str, str]:
    """A row as it is read from a table."""
    plain = ("model", "test", "options", "lr", "steps", "train_size", "train_digest", "commit", "valid_loss")
    numbers = {"trainable": "10", "train_seconds": "1", "answer_seconds": "1", "peak_bytes": "0", "no_answer": "0"}
    asked = {"questions": "100", "right": str(right), "exact_match": str(right / 100)}
    where = {"model_digest": "m", "test_digest": "t", "dtype": "float32", "device": "cpu", "processes": "1"}
    found = {"variant": variant, "group": f"{variant}-g", "seed": str(seed), **dict.fromkeys(plain, "1")}
    return {**found, **numbers, **asked, **where, "options": "", **more}


def test_the_report_means_over_seeds() -> None:
    """A lucky seed would stand for a method, or a run measured twice for two seeds."""
    rows = [row("lora", 0, 10), row("lora", 0, 50), row("lora", 1, 70), row(BARE, 0, 100), row("ia3", 0, 65)]
    found = report.groups(rows)
    assert [(group.name, len(group.rows), group.mean("exact_match")) for group in found] == [
        (BARE, 1, 1.0),
        ("ia3", 1, 0.65),
        ("lora", 2, 0.6),
    ]
    assert found[2].error == pytest.approx(0.1)  # over the seeds: that of the questions is 0.049
    assert 0 < found[0].error < 0.02
    page = report.markdown(found)
    assert "| lora | 2 | 60.0 ± 10.0 % |" in page
    assert report.svg(found) == report.svg(found)
    assert report.markdown(report.groups([*rows, row("hra", 0, 1, dtype="bfloat16")])).count("## ") == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--variant", "lroa", "--model", "m", "--train", "a", "--test", "b"), "Did you mean 'lora'"),
        (("run", "--variant", "lora", "--model", "m", "--train", "a", "--test", "b", "--dirty"), "--test: got b"),
        (("run", "--variant", "lora", "--model", "m", "--train", "a", "--test", "b", "--lr", "-1"), "--lr: got -1"),
        (("report", "--results", "none.tsv"), "--results: got none.tsv"),
        (("tiny", "lroa"), "Did you mean 'lora'"),
    ],
)
def test_one_line_for_what_cannot_be_done(
    arguments: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: None,
) -> None:
    """A slip of the pen would end in a traceback, or after an hour of training."""
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
