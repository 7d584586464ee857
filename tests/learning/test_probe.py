"""The probe on a user's model: what it says is so, and what is not there is told in one line."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conformance.cli import main
from conformance.planning.names import BadRequest
from conformance.running.background import Bar
from learning import own_data, probe, probed
from learning.own_model import own_model
from learning.probed import Asked
from learning.task import Data

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 40}
CONFIG = {**SIZES, "model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": None}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a config and nothing else."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path / "model"


def test_a_variant_learns(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer about a user's own model could be anything."""
    asked = ["probe", "--model", str(model), "--variant", "lora", "--lr", "0.03", "--steps", "25"]
    assert main([*asked, "--plot", str(tmp_path / "plots" / "p.svg")]) == 0
    told = capsys.readouterr()
    assert "It learns" in told.out
    assert "random weights, seed 0" in told.out
    assert "50/50, took" in told.err
    assert "<svg" in (tmp_path / "plots" / "p.svg").read_text()


def test_a_seed_is_a_seed(model: Path) -> None:
    """Nobody could repeat a figure."""
    asked = Asked(model, "ia3", lr=0.01, steps=4)
    first, second, other = (probe.probe(each) for each in (asked, asked, replace(asked, seed=1)))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    assert probed.svg(first) == probed.svg(second)
    assert first.gain != other.gain
    assert first.sound


def test_where_nothing_can_be_learned_it_says_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that falls for every model would count as learning."""
    made = own_data.made

    def noise(vocabulary: int, seed: int, batch: int) -> Data:
        ruled = made(vocabulary, seed, batch)
        return replace(ruled.shuffled(3), held_targets=ruled.held_targets.flip(0))

    monkeypatch.setattr(probe, "made", noise)
    found = probe.probe(Asked(model, "lora", lr=0.01, steps=20))
    assert not found.learns
    assert "No sign of learning" in probed.table(found)


def test_what_is_wrong_is_said(model: Path) -> None:
    """A dead adapter, or a base that moved, would read like the others."""
    found = probe.probe(Asked(model, "lora", lr=0.01, steps=2))
    for wrong in (replace(found, still=("a.A",)), replace(found, base_moved=("W",)), replace(found, reloaded=False)):
        assert not wrong.sound
        assert "WRONG" in probed.table(wrong)


def with_tokenizer(model: Path) -> Path:
    """A tokenizer beside the config: 40 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<end>": 1, **{f"w{n}": n for n in range(40) if n != 1}}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", unk_token="w0").save_pretrained(model)
    return model


def test_data_of_the_users(model: Path, tmp_path: Path) -> None:
    """Their own texts could not be learned, or the held-out ones would be among those that are."""
    records = [{"question": f"w{2 + n % 30} w{2 + n // 30}", "answer": f"w{3 + n % 30} w9"} for n in range(200)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    asked = Asked(with_tokenizer(model), "lora", tmp_path / "d.jsonl", lr=0.02, steps=20, length=9)
    found = probe.probe(asked)
    assert found.learns
    assert found.sequences == (80, 20, 9)
    tokenizer = own_model(model).tokenizer
    data = own_data.from_file(tmp_path / "d.jsonl", tokenizer, vocabulary=40, length=4, seed=0, batch=8)
    first = {tuple(row.tolist()) for row in data.inputs}
    assert not first & {tuple(row.tolist()) for row in data.held_inputs}
    assert torch.equal(data.inputs[:, 1:], data.targets[:, :-1])
    (tmp_path / "t.txt").write_text(" ".join(f"w{n % 40}" for n in range(400)))
    text = own_data.from_file(tmp_path / "t.txt", tokenizer, vocabulary=40, length=7, seed=0, batch=8)
    assert (len(text.inputs), len(text.held_inputs)) == (40, 10)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("d.txt", "w2 w3", "with 0 sequences of 65 tokens"),
        ("d.txt", " ", "no text in it"),
        ("d.json", "{", "which is no JSON"),
        ("d.json", "{}", "no list of records"),
        ("d.jsonl", '{"a": 1}', "line 1 in an unknown form"),
        ("d.json", '["w2"]', "with 0 sequences"),
    ],
)
def test_data_that_cannot_be_used(
    model: Path, tmp_path: Path, name: str, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong file would end in a traceback."""
    (tmp_path / name).write_text(text)
    with_tokenizer(model)
    assert main(["probe", "--model", str(model), "--variant", "lora", "--data", str(tmp_path / name)]) == 2
    assert_one_line(capsys, told)


@pytest.mark.parametrize(
    ("config", "more", "told"),
    [
        ({}, ("--variant", "lroa"), "Did you mean 'lora'"),
        ({}, ("--set", "rank=3"), "LoRAConfig: got the option rank"),
        ({}, ("--set", "r"), "--set: got 'r'"),
        ({}, ("--targets", "qproj"), "Targets.find: got no target"),
        ({}, ("--data", "none.txt"), "--data: got none.txt, want a file"),
        ({}, ("--data", __file__), "without a tokenizer"),
        ({}, ("--lr", "1e30"), "--lr: got a loss of"),
        ({"model_type": "bert"}, (), "bert' whose outputs depend on later tokens"),
        ({"model_type": "lama"}, (), "`lama`"),
        ({"num_attention_heads": 5}, (), "want a model that transformers loads"),
    ],
)
def test_what_is_not_there(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, object],
    more: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A slip of the pen would end in a traceback, or only after the training."""
    monkeypatch.chdir(tmp_path)
    (model / "config.json").write_text(json.dumps({**CONFIG, **config}))
    assert main(["probe", "--model", str(model), "--variant", "lora", *more]) == 2
    assert_one_line(capsys, told)


def test_models_that_are_not_whole(model: Path) -> None:
    """A part of the weights would be random, and nobody told."""
    from safetensors.torch import load_file, save_file

    own_model(model).model.save_pretrained(model)
    assert own_model(model).has_weights
    weights = model / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("model.norm.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(BadRequest, match=r"without model\.norm\.weight, want every weight"):
        own_model(model)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadRequest, match="want a model that transformers loads"):
        own_model(model)
    (model / "config.json").unlink()
    with pytest.raises(BadRequest, match=r"want a folder with a config\.json"):
        own_model(model)


def assert_one_line(capsys: pytest.CaptureFixture[str], told: str) -> None:
    """One line on stderr, but for the bar."""
    lines = [line for line in capsys.readouterr().err.splitlines() if " and control [" not in line]
    assert len(lines) == 1
    assert told in lines[0]


def test_the_bar_estimates() -> None:
    """One could not tell whether to wait a minute or a day."""
    now, out = [0.0], io.StringIO()
    bar = Bar("probe", 4, out=out, clock=lambda: now[0])
    for second in (30.0, 60.0, 90.0, 7300.0):
        now[0] = second
        bar.step("loss 1")
    assert out.getvalue().splitlines() == [
        "probe [######..................] 1/4, 1:30 min left, loss 1",
        "probe [############............] 2/4, 1:00 min left, loss 1",
        "probe [##################......] 3/4, 30 s left, loss 1",
        "probe [########################] 4/4, took 2:01 h, loss 1",
    ]
