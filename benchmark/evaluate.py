"""Exact match: the model answers in its own words, with a cache of keys and values, and the number must be the gold."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmark.answers import said
from benchmark.formats import Question
from benchmark.prompts import encoded_prompt, left_padded
from variants import unchanged


@dataclass(frozen=True)
class Answer:
    """What the model said to one question. ``got``: the number taken from it, None if it names none."""

    question: str
    text: str
    got: str | None
    want: str

    @property
    def right(self) -> bool:
        """Whether the numbers are the same."""
        return self.got == self.want


@dataclass(frozen=True)
class Score:
    """All answers, in the order of the questions, the tokens that were generated and the seconds it took."""

    answers: tuple[Answer, ...]
    tokens: int
    seconds: float

    @property
    def exact_match(self) -> float:
        """The share of right answers."""
        return sum(each.right for each in self.answers) / len(self.answers)

    def lines(self) -> list[dict[str, Any]]:
        """Each answer as plain data."""
        return [{**asdict(each), "right": each.right} for each in self.answers]


def evaluate(
    accelerator: Any,
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    size: int,
    max_new: int,
    each: Callable[[int], None] = lambda n: None,
) -> Score:
    """Greedy decoding, batch by batch, the questions dealt out to the processes."""
    from accelerate.utils import gather_object

    model.eval()
    prompts = [encoded_prompt(tokenizer, question.question) for question in questions]
    # Prompts of one length side by side: less padding.
    order = sorted(range(len(prompts)), key=lambda at: (-len(prompts[at]), at))
    mine = order[accelerator.process_index :: accelerator.num_processes]
    pad = pad_of(tokenizer)
    texts: list[tuple[int, str]] = []
    tokens, start = 0, time.perf_counter()
    with torch.inference_mode(), unchanged():
        for at in range(0, len(mine), size):
            part = mine[at : at + size]
            ids, mask = (t.to(accelerator.device) for t in left_padded([prompts[n] for n in part], pad))
            options: dict[str, Any] = {"do_sample": False, "use_cache": True, "max_new_tokens": max_new}
            ends = {"pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id}
            new = model.generate(input_ids=ids, attention_mask=mask, **options, **ends)[:, ids.shape[1] :]
            tokens += int((new != pad).sum())
            texts += zip(part, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True)
            each(len(part))
    seconds = time.perf_counter() - start
    told = dict(gather_object(texts))
    counted = sum(gather_object([tokens]))
    answers = [
        Answer(question.question, told[at], said(told[at]), question.answer) for at, question in enumerate(questions)
    ]
    return Score(tuple(answers), counted, seconds)


def pad_of(tokenizer: Any) -> int:
    """The token to pad with; that of the end where there is no other."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
