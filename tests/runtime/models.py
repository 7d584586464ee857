"""Tiny models with random weights to put adapters on, and a guard for what must not change about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from variants import VARIANTS, AdapterError, Targets, by_name, config_for
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
NEED_DATA = ("eva", "antipasto_corda")
NAMES = tuple(variant.name for variant in VARIANTS if variant.name not in NEED_DATA)
"""The variants that can be attached anywhere; those that need calibration have tests of their own."""
ROUNDING = 1e-5
START_OFF = {
    **dict.fromkeys(("hra", "pissa", "antipasto", "antipasto_arrow"), ROUNDING),
    "antipasto_rot": 5e-3,
    "antipasto_ablate": 5e-2,
}
"""How far from the base a fresh adapter may be: 0 unless named. Pairs of reflections cancel, and parts of a weight add
up, to rounding; the last two start near the identity by design."""
SMALL_OPTIONS = {"antipasto_rot": {"block_size": 2}, "antipasto_arrow": {"block": 1}, "road": {"group_size": 2}}
SIZES: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "max_position_embeddings": 32}
NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def llama() -> nn.Module:
    """Two blocks 16 wide; grouped keys and values, so that only q and o are square."""
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **heads, intermediate_size=24))


def qwen3() -> nn.Module:
    """Heads wider than the residual stream (q: 16 -> 32), and the output head tied to the embedding."""
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, **heads, intermediate_size=24, tie_word_embeddings=True))


def gpt2() -> nn.Module:
    """All projections in transformers' Conv1D."""
    sizes: dict[str, Any] = {"vocab_size": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def bert() -> nn.Module:
    """Square layers that are all called ``dense``, and a pooler that has no role."""
    return hf.BertModel(hf.BertConfig(**SIZES, **NO_DROPOUT, num_attention_heads=2, intermediate_size=24))


def neox() -> nn.Module:
    """GPT-NeoX: fused query_key_value, dense, dense_h_to_4h."""
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES, num_attention_heads=2, intermediate_size=24))


LANGUAGE_MODELS: tuple[Callable[[], nn.Module], ...] = (llama, qwen3, bert, neox)


def hidden(model: nn.Module) -> Tensor:
    """Logits, or the last hidden state of a headless model, on two fixed sentences."""
    output: Tensor = model(input_ids=IDS)[0]
    return output


class Mlp(nn.Module):
    """``down(relu(up(x)))`` on 6 features, 10 inside; no config, no output head."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.up = nn.Linear(6, 10, bias=bias)
        self.down = nn.Linear(10, 6, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The usual."""
        y: Tensor = self.down(torch.relu(self.up(x)))
        return y


class Quantised(nn.Module):
    """A linear-like layer as libraries for 8 bits make it: an int8 weight, no ``bias``, and an input called ``x``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        weight = torch.randint(-127, 127, (out_features, in_features), dtype=torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Dequantise, multiply."""
        return x @ (self.weight.to(x.dtype) / 127).T


def small_config(name: str, targets: Targets | None = None, **options: Any) -> AdapterConfig:
    """A config of the named variant with rank 2 where it has a rank."""
    rank: dict[str, Any] = {"r": 2} if "r" in by_name(name).Config.__dataclass_fields__ else {}
    return config_for(name, **{"targets": targets or Targets(), **rank, **SMALL_OPTIONS.get(name, {}), **options})


def move(model: nn.Module) -> None:
    """Take every adapter of the model away from its initial value."""
    with torch.no_grad():
        for adapter in (m for m in model.modules() if isinstance(m, Adapter)):
            for parameter in adapter.parameters():
                parameter.add_(torch.randn_like(parameter))


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything about a model that a failed call or a detach has to leave alone, bit for bit."""
    plain = torch.contiguous_format
    tensors = {key: value.detach().clone(memory_format=plain) for key, value in model.state_dict().items()}
    real = {key: t for key, t in tensors.items() if not t.is_meta}
    return {
        "tensors": {key: (t.dtype, t.shape, t.device) for key, t in tensors.items()},
        "bytes": {key: t.reshape(-1).view(torch.uint8).tolist() for key, t in real.items()},
        "requires_grad": {key: p.requires_grad for key, p in model.named_parameters()},
        "modules": [(name, type(m), m.training) for name, m in model.named_modules()],
        "hooks": {name: count for name, m in model.named_modules() if (count := _hooks(m))},
        "attributes": sorted(model.__dict__),
    }


def _hooks(module: nn.Module) -> int:
    kept = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    return sum(len(getattr(module, each)) for each in kept)


@contextmanager
def refused(model: nn.Module, message: str) -> Iterator[pytest.ExceptionInfo[AdapterError]]:
    """The block must raise an ``AdapterError`` that matches ``message``, and leave the model as it was."""
    before = snapshot(model)
    with pytest.raises(AdapterError, match=message) as caught:
        yield caught
    after = snapshot(model)
    for part, value in before.items():
        assert after[part] == value, f"{part} of the model changed"
