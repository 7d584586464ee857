"""A sample of the table of real models, and that the committed page is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import steps
from models.__main__ import PAGE, main
from models.steps import STEPS, Life
from models.table import NAMES, cell, render, run
from models.zoo import KINDS
from variants.lora import LoRA

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(autouse=True)
def quiet_and_seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """peft looks nothing up."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize(
    ("kind", "variant"), [("Llama", "pissa"), ("GPT-2", "lora"), ("Mamba", "ia3"), ("Whisper", "antipasto")]
)
def test_a_sample_is_as_committed(kind: str, variant: str) -> None:
    """The committed page would tell of a code that is gone."""
    cells = run([BY_NAME[kind]], [variant])
    (row,) = re.findall(rf"^\| {variant} \|.*$", render(cells), re.MULTILINE)
    section = PAGE.read_text(encoding="utf-8").partition(f"## {kind}\n")[2].partition("\n## ")[0]
    (committed,) = re.findall(rf"^\| {variant} \|.*$", section, re.MULTILINE)
    assert re.sub(r" \(\d+\)", "", committed) == re.sub(r" \(\d+\)", "", row)
    assert not [key for key, value in cells.items() if value.startswith("fails")]


def test_the_committed_page_is_whole() -> None:
    """A model, a variant or a step would be missing without anybody noticing, or a fault be committed."""
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [kind.name for kind in KINDS]
    for name in NAMES:
        rows = re.findall(rf"^\| {name} \|(.*)\|$", page, re.MULTILINE)
        assert [row.count("|") + 1 for row in rows] == [len(STEPS)] * len(KINDS)
    assert "| fails" not in page


def test_the_same_cells_give_the_same_text() -> None:
    """The committed page would differ on every run."""
    chosen = [BY_NAME["BERT"]], ["ia3", "antipasto"]
    assert render(run(*chosen)) == render(run(*chosen))


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


CAUGHT = ((NoGradient, "train"), (Forgetful, "merge"), (Forgetful, "merge for good"))


@pytest.mark.parametrize(("wrong", "step"), CAUGHT)
def test_a_wrong_variant_fails(wrong: type[LoRA], step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cell would say works whatever the variant computes."""
    kind = BY_NAME["Llama"]
    base = kind.made()
    assert cell(Life(kind, base, "lora", tmp_path), step) == "works"
    attach = steps.attach
    monkeypatch.setattr(steps, "attach", lambda *args, **given: attach(*args, **given, variant=wrong))
    assert cell(Life(kind, base, "lora", tmp_path), step).startswith("fails")


def test_a_part_does_not_replace_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a table would be committed as the whole one."""
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "Llama"])
    assert stopped.value.code == 2
    assert "pass --out" in capsys.readouterr().err
