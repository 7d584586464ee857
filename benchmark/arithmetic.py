"""A small arithmetic set in the published formats, and a tiny model to train on it: no download, the same every time.

The tiny model is made from its config and pretrained, whole, on word problems that say ``gets`` and ``loses``. The set
that an adapter trains on says ``finds`` and ``gives`` instead. A test question is never one of the training questions.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from benchmark import prompts

NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Greta", "Hugo")
THINGS = ("apples", "books", "coins", "eggs", "keys", "pens", "shells", "stamps")
KNOWN = {"gets": 1, "loses": -1}
"""Verbs of the pretraining, each with its sign."""
NEW = {"finds": 1, "gives": -1}
"""Verbs of the set that an adapter trains on."""
LARGEST = 6
END, PAD, UNKNOWN = "<end>", "<pad>", "<unknown>"
PRETRAINING, PRETRAINING_LR, PRETRAINING_BATCH = 250, 6e-3, 32
TRAIN, TEST, MODEL = "arithmetic-metamathqa.json", "arithmetic-gsm8k.jsonl", "tiny-llama"
"""What ``write`` puts into a folder."""

Problem = tuple[str, str, str]
"""Question, reasoning, answer."""


def problems(verbs: dict[str, int], n: int, seed: int) -> list[Problem]:
    """``n`` different questions."""
    draw = random.Random(seed)
    found: dict[str, Problem] = {}
    while len(found) < n:
        verb, sign = draw.choice(sorted(verbs.items()))
        a, b = draw.randint(1, LARGEST), draw.randint(1, LARGEST)
        if a + sign * b < 0:
            continue
        name, thing = draw.choice(NAMES), draw.choice(THINGS)
        question = f"{name} has {a} {thing} and {verb} {b}. How many {thing} does {name} have?"
        found[question] = (question, f"{a} {'+' if sign > 0 else '-'} {b} =", str(a + sign * b))
    return list(found.values())


def as_metamathqa(problem: Problem) -> dict[str, str]:
    """A record of MetaMathQA's file."""
    question, reasoning, answer = problem
    response = f"{reasoning} {answer}\nThe answer is: {answer}"
    return {"query": question, "response": response, "type": "GSM_Arithmetic", "original_question": question}


def as_gsm8k(problem: Problem) -> dict[str, str]:
    """A line of GSM8K's file; its answers note each calculation in ``<<>>``."""
    question, reasoning, answer = problem
    noted = f"<<{reasoning.replace(' ', '')}{answer}>>"
    return {"question": question, "answer": f"{reasoning} {noted}{answer}\n#### {answer}"}


def write(folder: Path, *, train: int = 1000, test: int = 100, steps: int = PRETRAINING) -> None:
    """The two files, and the tiny model with its tokenizer, under ``folder``."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    every = problems(NEW, train + test, seed=0)
    rows = [as_metamathqa(each) for each in every[:train]]
    (folder / TRAIN).write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    lines = [json.dumps(as_gsm8k(each)) for each in every[train:]]
    (folder / TEST).write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = tiny_tokenizer()
    model = pretrained(tokenizer, steps)
    model.save_pretrained(folder / MODEL)
    tokenizer.save_pretrained(folder / MODEL)


def tiny_tokenizer() -> Any:
    """A word is a token, and so is every number that can come up."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = "Question Answer has and How many does have The answer is . , : ? + - =".split()
    numbers = [str(n) for n in range(2 * LARGEST + 1)]
    vocabulary = [PAD, END, UNKNOWN, *words, *numbers, *KNOWN, *NEW, *NAMES, *THINGS]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)


def pretrained(tokenizer: Any, steps: int) -> Any:
    """The tiny model after ``steps`` of AdamW on all its numbers."""
    import transformers as hf

    from learning import task

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = hf.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        model: Any = hf.LlamaForCausalLM(config)
    taught = [as_metamathqa(each) for each in problems(KNOWN, 2000, seed=1)]
    encoded = [prompts.encoded(tokenizer, row["query"], row["response"]) for row in taught]
    optimiser = torch.optim.AdamW(model.parameters(), lr=PRETRAINING_LR)
    draw = random.Random(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = PRETRAINING_LR * min(1.0, (step + 1) / 20) * (1 - step / steps)
        inputs, targets = prompts.batch(draw.sample(encoded, PRETRAINING_BATCH), tokenizer.pad_token_id)
        optimiser.zero_grad()
        task.loss(model, inputs, targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.eval()
