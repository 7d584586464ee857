"""Tiny real transformers, and a task that they can learn: follow another rule than the one they were pretrained on.

A sequence goes from token t to rule[t], and with probability ``NOISE`` to any token. The base is pretrained on one rule
(a permutation of the vocabulary), an adapter is trained on another. Held-out sequences are drawn apart. The control is
trained on targets that are shuffled among all places: it can learn how often a token comes, and no rule.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, LENGTH, NOISE = 24, 16, 0.1
TRAINING, HELD_OUT = 128, 64
"""Sequences of each split."""
BATCH, STEPS, SEEDS = 16, 40, 3
PRETRAINING, PRETRAINING_LR = 200, 5e-3
TARGETS = ("q_proj", "k_proj", "v_proj", "down_proj")

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "eos_token_id": None,
    "bos_token_id": None,
}


def _llama() -> nn.Module:
    import transformers as hf

    return hf.LlamaForCausalLM(hf.LlamaConfig(**_SIZES))  # type: ignore[no-any-return]


def _qwen3() -> nn.Module:
    import transformers as hf

    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**_SIZES, head_dim=16, tie_word_embeddings=True))  # type: ignore[no-any-return]


MODELS: dict[str, Callable[[], nn.Module]] = {"Qwen3": _qwen3, "Llama": _llama}
"""Qwen3: heads wider than the residual stream, a norm on queries and keys, the output head tied to the embedding."""


@dataclass(frozen=True)
class Data:
    """Inputs ``(n, length)`` and the next tokens, of the training split and of the held-out one."""

    inputs: Tensor
    targets: Tensor
    held_inputs: Tensor
    held_targets: Tensor
    size: int = BATCH
    """Sequences of a batch."""

    def shuffled(self, seed: int) -> Data:
        """The control: the training targets dealt out anew over all places."""
        order = torch.randperm(self.targets.numel(), generator=torch.Generator().manual_seed(seed))
        return replace(self, targets=self.targets.reshape(-1)[order].reshape(self.targets.shape))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Batch after batch, over and over."""
        at = step * self.size % len(self.inputs)
        return self.inputs[at : at + self.size], self.targets[at : at + self.size]


def data(rule: int, seed: int, vocabulary: int = VOCABULARY) -> Data:
    """Sequences under rule number ``rule``."""
    order = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(1000 + rule))
    draw = torch.Generator().manual_seed(seed)
    n = TRAINING + HELD_OUT
    tokens = torch.randint(vocabulary, (n, LENGTH + 1), generator=draw)
    follows = torch.rand((n, LENGTH + 1), generator=draw) >= NOISE
    for place in range(1, LENGTH + 1):
        tokens[:, place] = torch.where(follows[:, place], order[tokens[:, place - 1]], tokens[:, place])
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    return Data(inputs[:TRAINING], targets[:TRAINING], inputs[TRAINING:], targets[TRAINING:])


def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the next tokens."""
    logits: Tensor = model(input_ids=inputs).logits
    return F.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), targets.reshape(-1))


@torch.no_grad()
def losses(model: nn.Module, inputs: Tensor, targets: Tensor, size: int = BATCH) -> Tensor:
    """The mean loss of each sequence, ``(n,)``, in evaluation mode."""
    model.eval()
    found = []
    for ids, wanted in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
        logits: Tensor = model(input_ids=ids).logits
        each = F.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
        found.append(each.mean(dim=1))
    return torch.cat(found)


@cache
def _pretrained(name: str) -> nn.Module:
    torch.manual_seed(0)
    model, taught = MODELS[name](), data(rule=0, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PRETRAINING_LR)
    for step in range(PRETRAINING):
        optimiser.zero_grad()
        loss(model, *taught.batch(step)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.eval()


def base(name: str) -> nn.Module:
    """A fresh copy of the pretrained model."""
    return copy.deepcopy(_pretrained(name))
