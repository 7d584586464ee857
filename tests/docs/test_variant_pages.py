"""The pages of the variants: committed as the code has them, apart from what depends on measured reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.reporting.pages import FOLDER, REPORTS, cost_rows, options, render, without_measured, write
from subjects.own.roster import ENTRIES

RESULTS = {"variants": {"lora": {"verdict": "CORRECT", "reason": "All agree.", "ways": {"4-bit": "works"}}}}
COUNTS = {"trainable": 12345, "adapter_bytes": 2_000_000, "flops": 300, "saved": 0, "peak": 5_000_000}
BARE = {**COUNTS, "flops": 200, "peak": 4_000_000}
COSTS = {
    "counts": {"counted": [{"name": "lora", "ours": COUNTS, "peft": None, "bare": BARE}]},
    "times": {"timed": [{"name": "lora", "to_peft": {"median": 0.5}}, {"name": "lora", "to_peft": {"median": 0.75}}]},
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Rendered from results and costs of one variant."""
    return render(ENTRIES, RESULTS, COSTS)


def test_there_is_a_page_for_each_variant(pages: dict[str, str]) -> None:
    """A variant would have no page, or a page no variant."""
    assert sorted(pages) == sorted(path.name for path in FOLDER.glob("*.md"))
    assert sorted(pages) == sorted(f"{entry.name}.md" for entry in ENTRIES)


def test_the_committed_pages_are_up_to_date(pages: dict[str, str]) -> None:
    """A page would tell of options, formulas or tensors that the code no longer has."""
    for name, page in pages.items():
        committed = (FOLDER / name).read_text(encoding="utf-8")
        assert without_measured(page) == without_measured(committed), f"{name}: python -m conformance.reporting.pages"


def test_what_is_measured_comes_from_the_reports(pages: dict[str, str]) -> None:
    """A page would show another variant's verdict or cost, or an invented one."""
    assert "Verdict: **CORRECT**. All agree." in pages["lora.md"]
    assert "| 4-bit | works |" in pages["lora.md"]
    assert "| matrix flops over the bare layer | 1.500 | - |" in pages["lora.md"]
    assert "| time of forward and backward over peft's | 0.50 to 0.75 | 1 |" in pages["lora.md"]
    assert "Not audited yet." in pages["dora.md"]
    assert "Not measured yet." in pages["dora.md"]
    assert "CORRECT" not in without_measured(pages["lora.md"])


def test_a_variant_without_costs() -> None:
    """A new variant would break the pages of all others until its costs are measured."""
    assert cost_rows({}, "lora") == []
    assert cost_rows(COSTS, "dora") == []


def test_an_option_without_documentation() -> None:
    """A page would be written with a gap, or fail without saying where."""

    @dataclass
    class Config:
        r: int = 8

    with pytest.raises(ValueError, match=r"Config\.r: got no documentation"):
        options(Config)


def test_a_page_names_what_peft_calls_the_tensors(pages: dict[str, str]) -> None:
    """A reader who knows peft would not find the tensor."""
    assert "| `m` | 20 | yes | `lora_magnitude_vector.default.weight` |" in pages["dora.md"]
    assert "| `U` | 4 x 12 | yes | `hra_u.default` |" in pages["hra.md"]


def test_a_start_from_data_is_shown_with_its_data(pages: dict[str, str]) -> None:
    """The first thing a reader copies would be refused."""
    assert "attach(model, EVAConfig(), calibration=batches)" in pages["eva.md"]
    assert "attach(model, LoRAConfig())" in pages["lora.md"]


def test_pages_of_variants_that_are_gone_go(tmp_path: Path) -> None:
    """A page would stay for a variant that nobody can use any more."""
    (tmp_path / "gone.md").write_text("# gone\n", encoding="utf-8")
    written = write(ENTRIES[:1], tmp_path, REPORTS)
    assert [path.name for path in written] == [path.name for path in tmp_path.iterdir()] == [f"{ENTRIES[0].name}.md"]
