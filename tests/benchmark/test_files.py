"""The published formats are read as they are, and what is not in them is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark import answers, arithmetic
from benchmark.formats import Example, Question, gsm8k, metamathqa, split
from conformance.planning.names import BadRequest

RECORD = {"query": "q", "response": "The answer is: 3", "type": "GSM_SV", "original_question": "o"}


def test_both_formats(tmp_path: Path) -> None:
    """A published file could not be read, or its fields would be taken for each other."""
    (tmp_path / "a.json").write_text(json.dumps([RECORD]))
    assert metamathqa(tmp_path / "a.json") == [Example("q", "The answer is: 3", "GSM_SV", "o")]
    (tmp_path / "b.jsonl").write_text(json.dumps({"question": "q", "answer": "6*200=<<6*200=1200>>1200\n#### 1,200"}))
    assert gsm8k(tmp_path / "b.jsonl") == [Question("q", "1200")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("{}", "want MetaMathQA's form: a JSON list"),
        ("[]", "no list of records"),
        (json.dumps([RECORD, {"query": "q"}]), "record 1 without all of query, response, type, original_question"),
        (json.dumps([{**RECORD, "type": 3}]), "record 0 without"),
    ],
)
def test_other_training_files(tmp_path: Path, text: str, told: str) -> None:
    """A wrong file would end in a traceback, or be trained on."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadRequest, match=told):
        metamathqa(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n", "no line in it"),
        ("[1", "line 1, which is no JSON"),
        ('{"question": "q"}', "line 1 without all of question, answer"),
        ('\n{"question": "q", "answer": "#### many"}', "line 2 with no '#### number'"),
    ],
)
def test_other_test_files(tmp_path: Path, text: str, told: str) -> None:
    """Questions without an answer would count as wrong ones."""
    (tmp_path / "b.jsonl").write_text(text)
    with pytest.raises(BadRequest, match=told):
        gsm8k(tmp_path / "b.jsonl")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A slip in a path would end in a traceback."""
    with pytest.raises(BadRequest, match="No such file"):
        gsm8k(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match="no text in UTF-8"):
        metamathqa(tmp_path / "bytes")


def test_no_origin_is_on_both_sides() -> None:
    """The validation loss, or the score, would be of what was trained on."""
    examples = [Example(f"q{n}", "r", "GSM_A" if n % 3 else "MATH_A", f"origin {n // 4}") for n in range(80)]
    test = [Question("Origin  3", "1"), Question("q40", "1")]
    found = split(examples, test, train=20, valid=6, kinds="GSM", seed=0)
    assert (len(found.train), len(found.valid)) == (20, 6)
    trained, held = ({each.origin for each in part} for part in (found.train, found.valid))
    assert not trained & held
    assert "origin 3" not in trained | held
    assert all(each.kind == "GSM_A" and each.question != "q40" for each in (*found.train, *found.valid))
    assert found.overlap == sum(n % 3 > 0 and (n // 4 == 3 or n == 40) for n in range(80))
    assert found == split(examples, test, train=20, valid=6, kinds="GSM", seed=0)
    assert found != split(examples, test, train=20, valid=6, kinds="GSM", seed=1)
    with pytest.raises(BadRequest, match="want 100 to train on"):
        split(examples, test, train=100, valid=6, kinds="", seed=0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7 The answer is : 7", "7"),
        ("The answer is: $1,234.50.", "1234.5"),
        ("the answer is -3\nThe answer is: 4", "-3"),
        ("So she pays 12 dollars", "12"),
        ("The answer is: $\\boxed{x}$, not 18.", "18"),
        ("The answer is: .5", "0.5"),
        ("The answer is: 10.00", "10"),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_the_number_that_a_text_says(text: str, number: str | None) -> None:
    """A right answer would count as wrong for its commas, or a wrong one as right."""
    assert answers.said(text) == number


def test_the_set_made_here_is_in_these_formats(world: Path) -> None:
    """The run on it would say nothing about the published files."""
    examples, questions = metamathqa(world / arithmetic.TRAIN), gsm8k(world / arithmetic.TEST)
    assert (len(examples), len(questions)) == (600, 60)
    assert not {each.question for each in examples} & {each.question for each in questions}
    assert answers.said(examples[0].response) is not None
