"""Questions and responses as token ids: what a model is shown, and what it is trained to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TEMPLATE = "Question: {question}\nAnswer:"
IGNORED = -100
"""Targets that do not count, as ``torch.nn.functional.cross_entropy`` has it."""


@dataclass(frozen=True)
class Encoded:
    """The ids of a prompt and of the response with the token that ends it."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encoded_prompt(tokenizer: Any, question: str) -> tuple[int, ...]:
    """What a model is shown, with the special tokens that its tokenizer puts in front."""
    ids = tokenizer(TEMPLATE.format(question=question.strip()))["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return tuple(ids)


def encoded(tokenizer: Any, question: str, response: str) -> Encoded:
    """A question with its response, which begins after a space and ends with the tokenizer's token for the end."""
    ids = tokenizer(" " + response.strip(), add_special_tokens=False)["input_ids"]
    return Encoded(encoded_prompt(tokenizer, question), (*ids, tokenizer.eos_token_id))


def batch(rows: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor]:
    """Inputs and next tokens, ``(n, longest - 1)``, padded on the right; only the response's tokens count."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    targets = torch.full((len(rows), longest), IGNORED)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row.prompt + row.response)
        targets[at, len(row.prompt) : len(row)] = torch.tensor(row.response)
    return ids[:, :-1], targets[:, 1:]


def left_padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, ``(n, longest)``: every prompt ends at the right edge, where generation begins."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(each)) + list(each) for each in prompts])
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts])
    return ids, mask
