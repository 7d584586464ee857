"""Sequences to train a user's model on and to hold out: from a file of theirs, or made here."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from conformance.planning.names import BadRequest
from learning import task
from learning.task import Data

HELD_OUT = 0.2
"""Share of the records, or of the text, that is never trained on."""
LEAST = 4
"""Sequences that each part has at least: fewer have no spread to speak of."""
PAIRS = (("query", "response"), ("question", "answer"), ("prompt", "completion"), ("instruction", "output"))
"""Keys of a record that has two texts. One that has one has it under ``text``."""
WORDS = 64
"""Tokens of the sequences that are made here."""


def made(vocabulary: int, seed: int, batch: int) -> Data:
    """Sequences that follow a rule of succession over a few tokens of the model's (``learning.task``)."""
    found = task.data(rule=1, seed=seed, vocabulary=min(WORDS, vocabulary))
    return Data(found.inputs, found.targets, found.held_inputs, found.held_targets, batch)


def from_file(path: Path, tokenizer: Any, *, vocabulary: int, length: int, seed: int, batch: int) -> Data:
    """Sequences of ``length`` tokens from a text, or from the records of a JSON or JSONL file.

    The records are dealt out to both parts at random; of a text, the end is held out. No record, and no sequence, is in
    both parts. BadRequest: a file that cannot be read, is too short, or has tokens that the model does not know.
    """
    if tokenizer is None:
        raise BadRequest(f"--data: got {path} for a model without a tokenizer, want one in the model's folder.")
    texts = read(path)
    if len(texts) == 1:
        ids = _ids(tokenizer, texts)
        cut = len(ids) - round(HELD_OUT * len(ids))
        parts = [ids[:cut], ids[cut:]]
    else:
        random.Random(seed).shuffle(texts)
        cut = len(texts) - max(1, round(HELD_OUT * len(texts)))
        parts = [_ids(tokenizer, texts[:cut]), _ids(tokenizer, texts[cut:])]
    highest = max((max(part) for part in parts if part), default=0)
    if highest >= vocabulary:
        raise BadRequest(f"--data: got token {highest} from the tokenizer, want one below the model's {vocabulary}.")
    whole = [torch.tensor(part[: len(part) // (length + 1) * (length + 1)]).reshape(-1, length + 1) for part in parts]
    if min(map(len, whole)) < LEAST:
        raise BadRequest(
            f"--data: got {path} with {len(whole[0])} sequences of {length + 1} tokens to train on and {len(whole[1])} "
            f"to hold out, want at least {LEAST} of each. Pass a longer file, or a smaller --length."
        )
    (inputs, targets), (held, held_targets) = ((part[:, :-1], part[:, 1:]) for part in whole)
    return Data(inputs, targets, held, held_targets, batch)


def read(path: Path) -> list[str]:
    """The texts of a file: its records, or the whole of it. BadRequest: it cannot be read, or is empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"--data: got {path}, which is no text in UTF-8, want a text, JSON or JSONL file.") from None
    except OSError as error:
        raise BadRequest(f"--data: got {path} ({error.strerror}), want a file that can be read.") from None
    try:
        if path.suffix == ".jsonl":
            lines = [line for line in text.splitlines() if line.strip()]
            found = [_text(json.loads(line), f"line {at}") for at, line in enumerate(lines, start=1)]
        elif path.suffix == ".json":
            records = json.loads(text)
            if not isinstance(records, list):
                raise BadRequest(f"--data: got {path} with no list of records, want one.")
            found = [_text(record, f"record {at}") for at, record in enumerate(records)]
        else:
            found = [text]
    except json.JSONDecodeError as error:
        raise BadRequest(f"--data: got {path}, which is no {path.suffix[1:].upper()} ({error}).") from None
    if not any(each.strip() for each in found):
        raise BadRequest(f"--data: got {path} with no text in it, want some.")
    return found


def _text(record: Any, place: str) -> str:
    if isinstance(record, str):
        return record
    for keys in (("text",), *PAIRS):
        if isinstance(record, dict) and all(isinstance(record.get(key), str) for key in keys):
            return "\n".join(record[key] for key in keys)
    known = ", ".join("/".join(keys) for keys in (("text",), *PAIRS))
    raise BadRequest(f"--data: got {place} in an unknown form, want a text, or an object with {known}.")


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The tokens of all texts, one after another, each with the token for the end, if there is one."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [token for ids in encoded for token in [*ids, *end]]
