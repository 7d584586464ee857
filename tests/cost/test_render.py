"""What is written: markdown, data and picture, the same bytes for the same costs, and the command around them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance import cli
from conformance.cost import measure, plot, render, stored
from conformance.cost.counts import Counts
from conformance.cost.measure import Costs, Counted, Machine, Models, Sides, Started, Timed
from conformance.cost.points import COUNTED, DECODED, TIMED, TINY
from conformance.cost.spectra import Directions
from conformance.cost.starts import Start
from conformance.cost.timing import Spread
from conformance.cost.whole.step import Side, Stepped

TOYS = "tests.harness.toys"
BARE = Counts(0, 0, 10**9, 2 * 10**9, 0, 0, 4_000_000, 2_000_000)
OURS = Counts(32768, 131072, 1_250_000_000, 2_500_000_000, 50_000, 60_000, 5_000_000, 2_000_000)
PEFT = replace(OURS, flops=11 * 10**9, saved=75_000_000)
RATIO = Spread(1.11, 1.22, 1.33, 15)
SIDES = Sides(RATIO, RATIO, RATIO)
ROWS = (
    Counted("lora", COUNTED, BARE, OURS, PEFT),
    Counted("alone", COUNTED, BARE, OURS, None),
)


def times(point: object, device: str = "cpu") -> tuple[Timed, ...]:
    """One row with a rival and one without."""
    return tuple(
        Timed(name, point, device, RATIO, SIDES, rival, None if rival is None else RATIO)  # type: ignore[arg-type]
        for name, rival in (("lora", SIDES), ("alone", None))
    )


HERE = Machine(2, 2, "x86_64", ("cpu",), "2.0", "0.1", "abc1234")


def stepping(name: str, rival: bool, way: str = "cpu, float32", peak: int = 3_000_000) -> tuple[Stepped, ...]:
    """A row on each whole model."""
    bare = Side(Spread(0.010, 0.020, 0.030, 15), Spread(1.0, 1.0, 1.0, 15), 1_000_000, 500_000, 0)
    ours = Side(Spread(0.011, 0.022, 0.033, 15), RATIO, peak, 700_000, 1234)
    theirs = replace(ours, seconds=Spread(1.1, 2.2, 3.3, 5), peak=5_000_000) if rival else None
    return tuple(
        Stepped(name, shape, way, bare, ours, theirs, Spread(0.9, 0.95, 1.05, 5) if rival else None)
        for shape in ("tiny", "0.5B")
    )


MODELS = Models(HERE, (*stepping("lora", True), *stepping("alone", False)))
COSTS = Costs(
    counted=ROWS,
    growth={"d": ROWS},
    rotation=ROWS,
    machine=Machine(2, 2, "x86_64", ("cpu",), "2.0", "0.1"),
    timed=tuple(row for point in TIMED for row in times(point)),
    rotation_timed=times(COUNTED),
    decoded=times(DECODED),
    overhead=times(TINY),
    started=(Started("lora", COUNTED, Start(RATIO, 10**6), None),),
    spectra=(Directions("pissa", COUNTED, RATIO, RATIO, 1e-6, 2e-6),),
    models=MODELS,
)


def test_the_table_of_counts() -> None:
    """A figure would stand in another one's column."""
    text = render.markdown(COSTS)
    row = next(line for line in text.splitlines() if line.startswith("| lora | 32 768"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        *("lora", "32 768", "0.13", "1.250", "5.500", "0.05", "75.00", "0.06", "0.06"),
        *("1.00", "1.00", "2.00", "2.00", "244 140"),
    ]


def test_every_table_has_as_many_cells_as_its_head() -> None:
    """A row would be shifted against its head."""
    for table in re.findall(r"(?:^\|.*\n)+", render.markdown(COSTS), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_sum_beside_peft() -> None:
    """The line that everybody reads would say something else than the cells below it."""
    slow = replace(times(TIMED[1])[0], to_peft=Spread(4.0, 1.22 * 1.5**6, 50.0, 15))
    costs = replace(COSTS, timed=(*(row for row in COSTS.timed if row.point != TIMED[1]), slow))
    text = render.markdown(costs)
    assert f"Geometric mean of the {len(TIMED)} cells: **1.83**. The largest: 13.90, lora at d1024 n512." in text
    assert "| pissa | 1024 | 1.22 | 1.220 | 1e-06 | 2e-06 |" in text
    alone = replace(COSTS, timed=tuple(row for row in COSTS.timed if row.to_peft is None))
    assert "Beside peft" not in render.markdown(alone)


def test_the_report_names_the_machine_and_no_date() -> None:
    """A time would be read without knowing where it was taken; a date would change the file every day."""
    text = render.markdown(COSTS)
    assert "2 CPUs (x86_64, 2 threads, torch 2.0)" in text
    assert "1.22 [1.11, 1.33]" in text
    for file in (text, stored.dumped(COSTS), plot.svg(COSTS)):
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\b20\d\dT", file)


def test_a_gpu_gets_its_own_tables() -> None:
    """Times of two devices would stand in one table."""
    both = replace(
        COSTS, machine=replace(COSTS.machine, devices=("cpu", "cuda")), timed=(*COSTS.timed, *times(COUNTED, "cuda"))
    )
    assert "## Times over the bare layer (GPU)" in render.markdown(both)
    assert "GPU" not in render.markdown(COSTS)


def test_the_data_keep_counts_and_times_apart() -> None:
    """What may be gated byte for byte would be mixed with what changes from run to run."""
    data = json.loads(stored.dumped(COSTS))
    assert set(data) == {"format", "models", "counts", "times"}
    assert data["counts"]["counted"][0]["peft"]["saved"] == 75_000_000
    assert set(data["counts"]) == {"counted", "growth", "rotation"}
    assert data["times"]["machine"]["cpus"] == 2


def test_what_is_written_is_read_again() -> None:
    """A part that is measured anew would lose the other, or give it other numbers."""
    text = stored.dumped(COSTS)
    assert stored.loaded(text) == COSTS
    assert stored.dumped(stored.loaded(text)) == text
    exact = replace(COSTS, overhead=(replace(times(TINY)[1], bare=Spread(1.23456789, 0.0, 123456.789, 15)),))
    assert stored.loaded(stored.dumped(exact)).overhead[0].bare == Spread(1.23457, 0.0, 123457.0, 15)


def test_a_row_is_a_line() -> None:
    """A changed number would be lost in a diff of thousands of lines, or all numbers be in one."""
    lines = stored.dumped(COSTS).splitlines()
    rows = [line for line in lines if '"name":' in line]
    assert len(rows) == sum(
        len(part)
        for part in (
            *(COSTS.counted, COSTS.rotation, COSTS.timed, COSTS.rotation_timed, COSTS.decoded, COSTS.overhead),
            *(COSTS.started, COSTS.spectra, MODELS.rows, *COSTS.growth.values()),
        )
    )
    assert all(isinstance(json.loads(line.rstrip(",")), dict) for line in rows)
    assert len(lines) < len(rows) + 40


def test_another_format_is_not_guessed() -> None:
    """Old numbers would be read under new names."""
    with pytest.raises(ValueError, match=r"got format 1, want 2\. Measure everything anew"):
        stored.loaded('{"format": 1}')


def test_new_rows_take_the_place_of_old_ones() -> None:
    """Variants that are measured one by one would not end up in one table, or twice, or in another order."""
    new = Models(HERE, stepping("lora", True, peak=9_000_000))
    costs = stored.updated(COSTS, new, ["alone", "lora"])
    assert costs.models is not None
    assert [(row.name, row.ours.peak) for row in costs.models.rows] == [
        *(("alone", 3_000_000),) * 2,
        *(("lora", 9_000_000),) * 2,
    ]
    assert costs.counted == COSTS.counted
    elsewhere = stored.updated(COSTS, replace(new, machine=replace(HERE, commit="def5678")), ["alone", "lora"])
    assert elsewhere.models is not None
    assert {row.name for row in elsewhere.models.rows} == {"lora"}, "rows of two commits in one table"


def test_the_table_of_whole_models() -> None:
    """A figure would stand in another one's column; the table that is looked at first would be somewhere below."""
    text = render.markdown(COSTS)
    table = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["variant", "---", "lora", "alone"]
    cells = [cell.strip() for cell in table[2].strip("|").split("|")]
    one = [
        *("1 234", "20 [10, 30]", "22 [11, 33]", "2200 [1100, 3300]", "0.95 [0.90, 1.05]"),
        *("2.00", "4.00", "0.20", "0.20"),
    ]
    assert cells == ["lora", *one, *one]
    assert "Measured at abc1234 on 2 CPUs" in text
    rows = (*MODELS.rows, *stepping("lora", True, "cuda, bfloat16, compiled"))
    both = render.markdown(replace(COSTS, models=Models(HERE, rows)))
    assert "### cpu, float32\n" in both
    assert "### cuda, bfloat16, compiled\n" in both


def test_models_alone() -> None:
    """Tables of layers without a row would look like measurements."""
    text = render.markdown(replace(Costs.none(), models=MODELS))
    assert "`conformance cost --part models`" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## A step of training on a whole model",
    ]


def test_the_picture_is_the_same_every_time() -> None:
    """The picture would change in every commit."""
    first = plot.svg(COSTS)
    assert plot.svg(COSTS) == first
    shown = {text.text for text in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")}
    assert {"lora", "alone", "here", "peft", "saved for the backward, MB"} <= shown


def test_a_quick_report_leaves_out_what_was_not_measured() -> None:
    """Empty tables would look like measurements."""
    quick = replace(COSTS, decoded=(), overhead=(), started=(), spectra=(), rotation=(), rotation_timed=(), models=None)
    text = render.markdown(quick)
    assert "`conformance cost --quick`" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## One layer",
        "## Beside peft",
        "## Counts at d1024, 512 tokens",
        "## Growth",
        "## Times over the bare layer",
    ]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, where nothing is measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "measure", lambda *a, **k: replace(COSTS, models=None))
    monkeypatch.setattr(measure, "measure_models", lambda *a, **k: MODELS)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "reports"),
        (["--quick"], ".conformance/reports"),
        (["lora"], ".conformance/reports"),
        (["--entries", f"{TOYS}:ONE"], ".conformance/reports"),
        (["--quick", "--out", "elsewhere"], "elsewhere"),
    ],
)
def test_the_command_writes_three_files(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], folder: str
) -> None:
    """A part of the costs would take the place of the committed whole."""
    assert cli.main(["cost", *arguments]) == 0
    found = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
    assert found == [f"{folder}/cost.{kind}" for kind in ("json", "md", "svg")]
    assert f"Costs: {folder}/cost.md" in capsys.readouterr().out


def test_a_part_keeps_the_other(here: Path) -> None:
    """Minutes of measuring would be thrown away by measuring something else."""
    assert cli.main(["cost", "--part", "layers"]) == 0
    layers = stored.loaded((here / "reports/cost.json").read_text(encoding="utf-8"))
    assert layers.models is None
    assert cli.main(["cost", "--part", "models", "lora", "--out", "reports"]) == 0
    both = stored.loaded((here / "reports/cost.json").read_text(encoding="utf-8"))
    assert both.models is not None
    assert {row.name for row in both.models.rows} == {"lora"}, "a row of nobody"
    assert replace(both, models=None) == layers
    assert cli.main(["cost", "--part", "layers"]) == 0
    again = stored.loaded((here / "reports/cost.json").read_text(encoding="utf-8"))
    assert again == both


def test_decoding_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast path would be measured, and its table be of the code before it, or not say which."""
    assert cli.main(["cost"]) == 0
    before = stored.loaded((here / "reports/cost.json").read_text(encoding="utf-8"))
    rows = times(DECODED)[1:]
    monkeypatch.setattr(measure, "measure_decoding", lambda *a, **k: rows)
    monkeypatch.setattr(measure, "machine", lambda: replace(HERE, commit="later"))
    assert cli.main(["cost", "--part", "decoding", "--out", "reports"]) == 0
    found = stored.loaded((here / "reports/cost.json").read_text(encoding="utf-8"))
    assert found == replace(before, decoded=rows, decoded_on=replace(HERE, commit="later"))
    assert "Measured anew at later on 2 CPUs" in (here / "reports/cost.md").read_text(encoding="utf-8")


def test_models_without_layers(here: Path) -> None:
    """Whoever wants the one would have to wait for the other."""
    assert cli.main(["cost", "--part", "models", "--out", "elsewhere"]) == 0
    assert sorted(path.name for path in (here / "elsewhere").iterdir()) == ["cost.json", "cost.md"]


def test_an_unknown_variant(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name would be measured as nobody."""
    assert cli.main(["cost", "loar"]) == 2
    assert "unknown variant 'loar'. Did you mean 'lora'? Known: lora, " in capsys.readouterr().err
    assert list(here.iterdir()) == []
