"""What is written: markdown, data and picture, the same bytes for the same costs, and the command around them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance import cli
from conformance.cost import measure, plot, render
from conformance.cost.counts import Counts
from conformance.cost.measure import Costs, Counted, Machine, Sides, Started, Timed
from conformance.cost.points import COUNTED, DECODED, TIMED, TINY
from conformance.cost.spectra import Directions
from conformance.cost.starts import Start
from conformance.cost.timing import Spread

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
    for file in (text, render.data(COSTS), plot.svg(COSTS)):
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
    data = json.loads(render.data(COSTS))
    assert set(data) == {"format", "counts", "times"}
    assert data["counts"]["counted"][0]["peft"]["saved"] == 75_000_000
    assert set(data["counts"]) == {"counted", "growth", "rotation"}
    assert data["times"]["machine"]["cpus"] == 2


def test_the_picture_is_the_same_every_time() -> None:
    """The picture would change in every commit."""
    first = plot.svg(COSTS)
    assert plot.svg(COSTS) == first
    shown = {text.text for text in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")}
    assert {"lora", "alone", "here", "peft", "saved for the backward, MB"} <= shown


def test_a_quick_report_leaves_out_what_was_not_measured() -> None:
    """Empty tables would look like measurements."""
    quick = replace(COSTS, decoded=(), overhead=(), started=(), spectra=(), rotation=(), rotation_timed=())
    text = render.markdown(quick)
    assert "`conformance cost --quick`" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Beside peft",
        "## Counts at d1024, 512 tokens",
        "## Growth",
        "## Times over the bare layer",
    ]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, where nothing is measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "measure", lambda *a, **k: COSTS)
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


def test_an_unknown_variant(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name would be measured as nobody."""
    assert cli.main(["cost", "loar"]) == 2
    assert "variant: got 'loar', want one of lora, " in capsys.readouterr().err
    assert list(here.iterdir()) == []
