"""A sample of the table of real models, and that the committed page is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import codes, life, two
from models.__main__ import PAGE, main
from models.life import Life, Wrong, answer
from models.steps import STEPS
from models.table import COLUMNS, NAMES, render, run
from models.zoo import KINDS
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
    assert cells == {step: row[step] for step in STEPS}
    assert "fails" not in cells.values()


def test_two_processes_are_as_committed() -> None:
    """Likewise, for what takes other processes."""
    chosen = ["delora", "antipasto"]
    cells = run([BY_NAME["Mixtral"]], chosen)
    page = render(cells)
    for variant in chosen:
        row = committed("Mixtral", variant)
        assert {step: cells["Mixtral", variant, step].partition(":")[0] for step in COLUMNS} == row
    assert page == render(dict(reversed(cells.items())))


def test_the_committed_page_is_whole() -> None:
    """A model, a variant or a step would be missing without anybody noticing, or a fault be committed."""
    page = PAGE.read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert titles == [*(kind.name for kind in KINDS), "Reasons"]
    for kind in KINDS:
        for name in NAMES:
            assert set(committed(kind.name, name).values()) <= {"works", "-", "refuses", "peft refuses"}


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

    def write(alive: Life) -> None:
        two.save(alive.trained(), tmp_path / "lora.safetensors")
        torch.save(alive.logits * (1 + 1e-12), tmp_path / "lora.pt")

    monkeypatch.setattr(two, "_write", write)
    alive = Life(kind, kind.made(), "lora", tmp_path / "lora")
    cells = two.answers(kind, {"lora": alive}, tmp_path)
    assert cells["lora", "new process"].startswith("fails: a loaded adapter")
    assert cells["lora", "DDP"] == cells["lora", "FSDP2"] == "works"
    (tmp_path / "late").mkdir()
    late = two.answers(kind, {"lora": alive}, tmp_path / "late", limit=0.01)
    assert set(late.values()) == {"fails: no answer from the processes"}


def test_the_gradients_of_half_a_batch_fail(tmp_path: Path) -> None:
    """Processes that never speak with each other would pass for DDP."""
    kind = BY_NAME["Llama"]
    alive = Life(kind, kind.made(), "lora", tmp_path / "lora")
    two._write(alive)
    model = two._loaded(alive)
    with pytest.raises(Wrong, match="another gradient"):
        two._half(alive, 0, model, model)


def test_parts_make_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page could be written before all of its parts are there."""
    from models import __main__ as command

    chosen = [BY_NAME["BERT"], BY_NAME["ViT"]]
    monkeypatch.setattr(command, "KINDS", chosen)
    monkeypatch.setattr(command, "NAMES", ("lora",))
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(
        command, "run", lambda kinds, names: {(k.name, n, c): "works" for k in kinds for n in names for c in COLUMNS}
    )
    cells = ["--cells", str(tmp_path / "cells.json")]
    assert main([*cells, "--model", "BERT"]) == 0
    assert not (tmp_path / "page.md").exists()
    assert main([*cells, "--model", "ViT"]) == 0
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["BERT", "ViT"]


def test_a_part_does_not_replace_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a table would be committed as the whole one."""
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "Llama"])
    assert stopped.value.code == 2
    assert "pass --out" in capsys.readouterr().err
