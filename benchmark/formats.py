"""MetaMathQA and GSM8K from local files, in the formats in which they are published.

MetaMathQA (``MetaMathQA-395K.json``): a JSON list of ``{query, response, type, original_question}``. GSM8K
(``test.jsonl``): a JSON object per line, ``{question, answer}``; the answer ends with a line ``#### number``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.answers import gold
from conformance.planning.names import BadRequest


@dataclass(frozen=True)
class Example:
    """What is trained on: a question and its response. ``origin``: the question that it rephrases."""

    question: str
    response: str
    kind: str
    origin: str


@dataclass(frozen=True)
class Question:
    """What is asked: a question and the number that is the answer, as text."""

    question: str
    answer: str


def metamathqa(path: Path) -> list[Example]:
    """Every record of a file. BadRequest: no such file, no JSON list, or a record without one of the four texts."""
    rows = _json(path, "--train", path_text(path, "--train"))
    if not isinstance(rows, list) or not rows:
        raise BadRequest(f"--train: got {path} with no list of records, want MetaMathQA's form: a JSON list.")
    keys = ("query", "response", "type", "original_question")
    return [Example(*_texts(row, keys, "--train", f"{path}, record {at}")) for at, row in enumerate(rows)]


def gsm8k(path: Path) -> list[Question]:
    """Every line of a file. BadRequest: no such file, a line that is no JSON object, or an answer without a number."""
    found = []
    for at, line in enumerate(path_text(path, "--test").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {at}"
        question, answer = _texts(_json(place, "--test", line), ("question", "answer"), "--test", place)
        number = gold(answer)
        if number is None:
            raise BadRequest(f"--test: got {place} with no '#### number' at the end of its answer, want one.")
        found.append(Question(question, number))
    if not found:
        raise BadRequest(f"--test: got {path} with no line in it, want GSM8K's form: a JSON object per line.")
    return found


@dataclass(frozen=True)
class Split:
    """Examples to train on and to validate with. ``overlap``: how many were left out, for a test question is theirs."""

    train: list[Example]
    valid: list[Example]
    overlap: int


def split(
    examples: Sequence[Example], test: Sequence[Question], *, train: int, valid: int, kinds: str, seed: int
) -> Split:
    """A random subset. No origin is in both parts, and none is a test question.

    ``kinds``: what the type has to begin with, such as ``GSM``; all types if empty. BadRequest: too few are left.
    """
    asked = {_plain(each.question) for each in test}
    chosen = [each for each in examples if each.kind.startswith(kinds)]
    apart = [each for each in chosen if not {_plain(each.origin), _plain(each.question)} & asked]
    origins = sorted({each.origin for each in apart})
    draw = random.Random(seed)
    draw.shuffle(origins)
    groups: dict[str, list[Example]] = {}
    for each in apart:
        groups.setdefault(each.origin, []).append(each)
    held: list[Example] = []
    while origins and len(held) < valid:
        held += groups.pop(origins.pop())
    left = [each for origin in origins for each in groups[origin]]
    draw.shuffle(left)
    if len(held) < valid or len(left) < train:
        raise BadRequest(
            f"--train-size: got {len(left) + len(held)} usable records (type {kinds or 'any'}, no test question), "
            f"want {train} to train on and {valid} to validate with. Ask for fewer, or for other types."
        )
    return Split(left[:train], held[:valid], len(chosen) - len(apart))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def path_text(path: Path, option: str) -> str:
    """The text of a file that the user named. BadRequest if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"{option}: got {path}, which is no text in UTF-8, want the published file.") from None
    except OSError as error:
        raise BadRequest(f"{option}: got {path} ({error.strerror}), want a file that can be read.") from None


def _json(place: object, option: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"{option}: got {place}, which is no JSON ({error}), want the published form.") from None


def _texts(row: Any, keys: Sequence[str], option: str, place: str) -> list[str]:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key].strip() for key in keys):
        raise BadRequest(f"{option}: got {place} without all of {', '.join(keys)} as texts, want the published form.")
    return [row[key] for key in keys]
