"""The whole benchmark on a tiny model: what it trains is what it scores, on one device as on several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import arithmetic, prompts, table, tiny
from benchmark.__main__ import main
from benchmark.evaluate import evaluate
from benchmark.formats import gsm8k
from benchmark.run import run
from benchmark.settings import BARE
from benchmark.train import batches, schedule, summed_loss, train
from conformance.planning.names import BadRequest
from learning.own_model import own_model

ROOT = Path(__file__).parents[2]


def test_end_to_end(world: Path, tmp_path: Path, committed: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The comparison could not be made: loading, training, answering, the row, the page."""
    results = tmp_path / "r.tsv"
    settings = {name: tiny.settings_of(name, world, steps=25) for name in (BARE, "lora", "antipasto_arrow")}
    settings = {name: replace(each, train_size=500, valid_size=30) for name, each in settings.items()}
    names = [run(each, results, quiet=True) for each in settings.values()]
    bare, lora, arrow = table.rows(results)
    assert [bare["run_id"], lora["run_id"], arrow["run_id"]] == names
    assert float(lora["exact_match"]) > float(bare["exact_match"]) + 0.2
    assert float(lora["valid_loss"]) < float(bare["valid_loss"])
    assert (bare["trainable"], bare["questions"], lora["commit"]) == ("0", "60", "c" * 40)
    assert int(lora["trainable"]) > int(arrow["trainable"]) > 0
    assert json.loads(arrow["config"])["block"] == 2
    told = [json.loads(line) for line in (tmp_path / "r-answers" / f"{names[1]}.jsonl").read_text().splitlines()]
    assert sum(line["got"] == line["want"] for line in told) == int(lora["right"])
    with pytest.raises(BadRequest, match="--again measures anew"):
        run(settings["lora"], results, quiet=True)
    run(settings["lora"], results, quiet=True, again=True)
    assert table.rows(results)[3]["right"] == lora["right"]
    assert main(["report", "--results", str(results)]) == 0
    assert "| antipasto_arrow (block=2 r=4) | 1 |" in (tmp_path / "benchmark.md").read_text()


class Alone:
    """One process of ``num_processes``, whose sum over the processes is its own part."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.process_index, self.num_processes, self.device = rank, world, torch.device("cpu")

    def prepare(self, *things: Any) -> tuple[Any, ...]:
        """As they are."""
        return things

    def backward(self, loss: torch.Tensor) -> None:
        """Plain."""
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        """Alone."""
        return tensor

    def clip_grad_norm_(self, parameters: Any, norm: float) -> None:
        """Plain."""
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    def no_sync(self, model: Any) -> Any:
        """Nothing to wait for."""
        return torch.enable_grad()


def rows_of(world: Path, tokenizer: Any) -> list[prompts.Encoded]:
    """Some rows of unequal lengths."""
    some = arithmetic.problems(arithmetic.NEW, 40, seed=3)
    return [
        prompts.encoded(tokenizer, question, f"{why} {answer} " + ", " * (at % 5))
        for at, (question, why, answer) in enumerate(some)
    ]


def test_a_step_does_not_depend_on_how_the_batch_is_dealt_out(world: Path) -> None:
    """A run with small parts, or on several devices, would be another method's."""
    settings = replace(tiny.settings_of(BARE, world, steps=3), lr=1e-3, batch=12)
    own = own_model(world / arithmetic.MODEL)
    rows = rows_of(world, own.tokenizer)
    found = []
    for micro in (12, 5, 1):
        model = own_model(world / arithmetic.MODEL).model
        losses = train(Alone(), model, rows, replace(settings, micro=micro), 0).losses
        found.append((torch.tensor(losses), torch.cat([p.detach().reshape(-1) for p in model.parameters()])))
    for losses, tensors in found[1:]:
        assert torch.allclose(losses, found[0][0], rtol=1e-5)
        assert torch.allclose(tensors, found[0][1], atol=2e-4)
    shares = [train(Alone(rank, 2), own_model(world / arithmetic.MODEL).model, rows, settings, 0) for rank in (0, 1)]
    assert sum(share.losses[0] for share in shares) == pytest.approx(found[0][0][0].item(), rel=1e-5)


def test_only_the_response_is_learned(world: Path) -> None:
    """The model would be trained to ask questions, or the padding would count."""
    tokenizer = arithmetic.tiny_tokenizer()
    row = prompts.encoded(tokenizer, "Anna has 1 apples .", "1 + 2 = 3")
    inputs, targets = prompts.batch([row, prompts.Encoded((1,), (2,))], pad=0)
    counted = targets != prompts.IGNORED
    assert tuple(targets[0][counted[0]].tolist()) == row.response
    assert row.response[-1] == tokenizer.eos_token_id
    assert inputs.shape == targets.shape == (2, len(row) - 1)
    assert counted[1].sum() == 1
    model = own_model(world / arithmetic.MODEL).model
    alone = summed_loss(model, *prompts.batch([row], 0))
    padded = summed_loss(model, inputs[:1], targets[:1])
    assert torch.allclose(alone, padded)


def test_answers_do_not_depend_on_the_batch(world: Path) -> None:
    """The padding of a batch would change what a model says."""
    own = own_model(world / arithmetic.MODEL)
    questions = gsm8k(world / arithmetic.TEST)[:12]
    # A tenth of the questions is longer than the others.
    questions[3] = replace(questions[3], question=f"{questions[3].question} {questions[4].question}")
    one, many = (
        evaluate(Alone(), own.model, own.tokenizer, questions, size=size, max_new=12).answers for size in (1, 12)
    )
    assert one == many
    assert [each.question for each in one] == [each.question for each in questions]


def test_every_row_comes_before_any_comes_again() -> None:
    """Some records would never be trained on."""
    found = batches(10, 4, 5, seed=0)
    assert sorted(at for batch in found for at in batch) == sorted(list(range(10)) * 2)
    assert batches(10, 4, 5, seed=1) != found
    assert [len(batch) for batch in batches(3, 7, 2, seed=0)] == [7, 7]


def test_the_rate_rises_and_falls() -> None:
    """The first steps would be too large, or the last one not the smallest."""
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[-1] < 0.001
    assert schedule(0, 3, 0.0) == 1


@pytest.mark.slow
def test_two_processes_give_the_row_of_one(world: Path, tmp_path: Path) -> None:
    """A run on several devices would not be the same run."""
    settings = replace(tiny.settings_of("pissa", world, steps=12), train_size=400, valid_size=31, micro=5)
    asked = [*("-m", "benchmark", "run", "--dirty", "--again", "--results", str(tmp_path / "r.tsv"))]
    for name, value in settings.text().items():
        flag = f"--{name.replace('_', '-')}"
        if name == "options":
            asked += [text for each in value.split() for text in ("--set", each)]
        elif name != "checkpointing":
            asked += [flag, *(value.split() if name == "targets" else [value])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    run(settings, tmp_path / "r.tsv", dirty=True, again=True, quiet=True)
    both, one = table.rows(tmp_path / "r.tsv")
    assert (one["processes"], both["processes"]) == ("1", "2")
    assert one["right"] == both["right"]
    for column in ("train_loss", "valid_loss"):
        assert float(one[column]) == pytest.approx(float(both[column]), rel=1e-4)
    assert [one[c] for c in ("run_id", "train_tokens")] == [both[c] for c in ("run_id", "train_tokens")]
