"""A sample of the table of real models, and that the committed page is whole."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import codes, life, two
from models.__main__ import CELLS, PAGE, main, read
from models.life import Life, Wrong, answer
from models.steps import STEPS
from models.table import COLUMNS, NAMES, NOT_RUN, render, run
from models.zoo import KINDS, Kind
from variants.lora import LoRA

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(autouse=True)
def quiet_and_seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """peft looks nothing up."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with torch.random.fork_rng(devices=[]):
        yield


SAMPLE = [("Llama", "pissa"), ("GPT-2", "lora"), ("Mamba", "ia3"), ("BERT", "road")]


def committed(kind: str, variant: str) -> dict[str, str]:
    """A row of the page, by column, without the numbers of reasons."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {kind}\n")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {variant} \| (.*) \|$", section, re.MULTILINE)
    return dict(zip(COLUMNS, re.sub(r" \(\d+\)", "", row).split(" | "), strict=True))


@pytest.mark.parametrize(("kind", "variant"), SAMPLE)
def test_a_sample_is_as_committed(kind: str, variant: str, tmp_path: Path) -> None:
    """The committed page would tell of a code that is gone."""
    alive = Life(BY_NAME[kind], BY_NAME[kind].made(), variant, tmp_path)
    cells = {step: answer(call, alive).partition(":")[0] for step, call in STEPS.items()}
    row = committed(kind, variant)
    known = {step for step in STEPS if row[step] != NOT_RUN}
    assert {step: cells[step] for step in known} == {step: row[step] for step in known}
    assert "fails" not in cells.values()


def test_two_processes_are_as_committed() -> None:
    """Likewise, for what takes other processes."""
    variant = "antipasto"
    cells = run([BY_NAME["Mixtral"]], [variant])
    row = committed("Mixtral", variant)
    got = {step: cells["Mixtral", variant, step].partition(":")[0] for step in COLUMNS}
    assert {step: text for step, text in got.items() if row[step] != NOT_RUN} == {
        step: text for step, text in row.items() if text != NOT_RUN
    }
    assert "fails" not in got.values()


def test_the_committed_page_is_that_of_the_committed_cells() -> None:
    """A model, a variant or a step would be missing without anybody noticing, or a fault be committed."""
    page = PAGE.read_text(encoding="utf-8")
    cells = read(CELLS)
    assert page == render(cells) == render(dict(reversed(cells.items())))
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert titles == [*(kind.name for kind in KINDS), *(["Reasons"] if any(": " in t for t in cells.values()) else [])]
    for kind in KINDS:
        for name in NAMES:
            assert set(committed(kind.name, name).values()) <= {"works", "-", "refuses", "peft refuses", NOT_RUN}
    missing = [key for key in itertools.product(BY_NAME, NAMES, COLUMNS) if key not in cells]
    assert bool(missing) == ("have not been run yet" in page)


class NoGradient(LoRA):
    """B is cut off."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """With a detached B."""
        return (y + x @ self.A.t() @ self.B.detach().t()).to(y.dtype)


class Forgetful(LoRA):
    """Merges to something else."""

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        """Too much."""
        W, b = super().fold(layer)
        return W + 0.01, b


CAUGHT = (
    (NoGradient, "train"),
    (Forgetful, "merge"),
    (Forgetful, "merge for good"),
    (Forgetful, "generate"),
    (NoGradient, "nf4"),
    (Forgetful, "nf4"),
    (Forgetful, "int8"),
)


@pytest.mark.parametrize(("wrong", "step"), CAUGHT)
def test_a_wrong_variant_fails(wrong: type[LoRA], step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cell would say works whatever the variant computes."""
    kind = BY_NAME["Llama"]
    base = kind.made()
    assert answer(STEPS[step], Life(kind, base, "lora", tmp_path)) == "works"
    attach = life.attach
    monkeypatch.setattr(life, "attach", lambda *args, **given: attach(*args, **given, variant=wrong))
    assert answer(STEPS[step], Life(kind, base, "lora", tmp_path)).startswith("fails")


def test_codes_that_change_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Training could write to the base, or the report name another error than merging has."""
    kind = BY_NAME["Llama"]
    read = codes.numbers_of
    monkeypatch.setattr(codes, "numbers_of", lambda layer: read(layer) + 1e-3 * torch.rand(()))
    assert answer(STEPS["nf4"], Life(kind, kind.made(), "lora", tmp_path)) == "fails: the codes have changed"


def test_other_outputs_in_a_new_process_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that computes something else would pass; so would one that never answers."""
    kind = BY_NAME["BERT"]

    def write(alive: Life, folder: Path) -> None:
        two.save(alive.trained(), folder / "BERT-lora.safetensors")
        torch.save(alive.logits * (1 + 1e-12), folder / "BERT-lora.pt")

    monkeypatch.setattr(two, "_write", write)
    alive = Life(kind, kind.made(), "lora", tmp_path)
    cells = two.answers([alive], tmp_path)
    assert cells["BERT", "lora", "new process"].startswith("fails: a loaded adapter")
    assert cells["BERT", "lora", "DDP"] == cells["BERT", "lora", "FSDP2"] == "works"
    (tmp_path / "late").mkdir()
    late = two.answers([alive], tmp_path / "late", limit=0.01)
    assert set(late.values()) == {"fails: no answer from the processes"}


def test_the_gradients_of_half_a_batch_fail(tmp_path: Path) -> None:
    """Processes that never speak with each other would pass for DDP."""
    kind = BY_NAME["Llama"]
    alive = Life(kind, kind.made(), "lora", tmp_path)
    two._write(alive, tmp_path)
    model = two._loaded(alive)
    with pytest.raises(Wrong, match="another gradient"):
        two._half(alive, 0, model, model)


def test_parts_make_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running a part would throw the rest away, or a cell that was never run would look like one that works."""
    from models import __main__ as command

    def fake(kinds: list[Kind], names: list[str], each: Any) -> dict[tuple[str, str, str], str]:
        return {(kind.name, name, column): "works" for kind in kinds for name in names for column in COLUMNS}

    monkeypatch.setattr(command, "run", fake)
    files = ["--cells", str(tmp_path / "cells.json"), "--out", str(tmp_path / "page.md")]
    pages = []
    for model in ("BERT", "ViT"):
        assert main([*files, "--model", model, "--variant", "lora"]) == 0
        pages.append((tmp_path / "page.md").read_text(encoding="utf-8"))
    whole = len(KINDS) * len(NAMES) * len(COLUMNS)
    for page, there in zip(pages, (1, 2), strict=True):
        assert page.count("works |") == there * len(COLUMNS)
        assert page.count("not run |") == whole - there * len(COLUMNS)
        assert f"**{whole - there * len(COLUMNS)} of {whole} cells have not been run yet**" in page
    assert main(files) == 0
    assert "not run" not in (tmp_path / "page.md").read_text(encoding="utf-8")
