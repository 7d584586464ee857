"""The whole models: a tiny one, and one with the layers of a model of half a billion parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear layer of a block."""


@dataclass(frozen=True)
class Shape:
    """A Llama with random weights, and the batch it is trained on."""

    name: str
    hidden: int
    inner: int
    blocks: int
    heads: int
    kv_heads: int
    vocabulary: int
    sequences: int
    length: int
    rank: int

    def model(self, dtype: str, device: str) -> nn.Module:
        """The frozen model in training mode; the same weights each time."""
        import transformers

        sizes: dict[str, Any] = {"num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads}
        config = transformers.LlamaConfig(
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.blocks,
            vocab_size=self.vocabulary,
            max_position_embeddings=self.length,
            use_cache=False,
            **sizes,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = transformers.LlamaForCausalLM(config)
        return model.requires_grad_(False).to(device, getattr(torch, dtype)).train()

    def ids(self, device: str, seed: int = 0) -> Tensor:
        """``(sequences, length)`` random tokens."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.vocabulary, (self.sequences, self.length), generator=generator).to(device)

    @property
    def words(self) -> str:
        """For the report."""
        return (
            f"{self.hidden} wide, {self.inner} inside, {self.blocks} blocks, {self.heads} heads ({self.kv_heads} for "
            f"keys), vocabulary of {self.vocabulary}; {self.sequences} x {self.length} tokens, rank {self.rank}"
        )


TINY = Shape("tiny", 128, 256, 2, 4, 2, 512, 4, 32, rank=8)
HALF = Shape("0.5B", 896, 4864, 2, 14, 2, 12_672, 2, 64, rank=16)
"""Qwen2.5-0.5B's blocks, 2 of 24, and a twelfth of its vocabulary, so that the head has the share it has there."""
SHAPES = (TINY, HALF)


@dataclass(frozen=True)
class Way:
    """Where and how a model is run. Adapters of a half-precision base stay in float32 on both sides."""

    device: str = "cpu"
    dtype: str = "float32"
    compiled: bool = False

    @property
    def words(self) -> str:
        """For the report."""
        return f"{self.device}, {self.dtype}" + (", compiled" if self.compiled else "")


WAYS = {"cpu": (Way(),), "cuda": (Way("cuda"), Way("cuda", "bfloat16"), Way("cuda", "bfloat16", compiled=True))}
"""What is measured on a device."""
