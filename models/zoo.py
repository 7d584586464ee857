"""Tiny models with random weights, from transformers' configs, each with a batch to train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

WIDTH, INNER, HEAD = 16, 24, 4
SIZES: dict[str, Any] = {"vocab_size": 32, "num_hidden_layers": 2}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
TOKENS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of model: how to build it (so many times as wide), what to train it on, and what to generate from.

    ``prompt``: None where the model does not generate. ``head``: the layer that a new task gets; no adapter goes there.
    ``stacked``: parameters that hold several weights.
    """

    name: str
    build: Callable[[int], nn.Module]
    batch: dict[str, Tensor]
    prompt: dict[str, Tensor] | None
    head: str = ""
    stacked: tuple[str, ...] = ()

    def made(self, wide: int = 1, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The model in evaluation mode, with the same random weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build(wide).to(dtype).eval()


def _decoder(name: str, model: Any, config: Any, **options: Any) -> Kind:
    def build(wide: int) -> nn.Module:
        widths = {"hidden_size": WIDTH * wide, "intermediate_size": INNER * wide}
        heads = {key: n * wide for key, n in options.items() if key == "head_dim"}
        made: nn.Module = model(config(**{**SIZES, **HEADS, **TOKENS, **options, **widths, **heads}))
        return made

    stacked = ("experts.gate_up_proj", "experts.down_proj") if "num_local_experts" in options else ()
    return Kind(name, build, {"input_ids": IDS, "labels": IDS}, {"input_ids": IDS[:, :3]}, stacked=stacked)


def _mamba(wide: int) -> nn.Module:
    sizes: dict[str, Any] = {"state_size": 4, "time_step_rank": 2}
    made: nn.Module = hf.MambaForCausalLM(hf.MambaConfig(**SIZES, **TOKENS, **sizes, hidden_size=WIDTH * wide))
    return made


def _gpt2(wide: int) -> nn.Module:
    sizes: dict[str, Any] = {"vocab_size": 32, "n_embd": WIDTH * wide, "n_layer": 2, "n_head": 2, "n_positions": 32}
    made: nn.Module = hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, **TOKENS))
    return made


def _t5(wide: int) -> nn.Module:
    sizes: dict[str, Any] = {"vocab_size": 32, "num_layers": 2, "num_heads": 4}
    sizes |= {"d_model": WIDTH * wide, "d_kv": HEAD * wide, "d_ff": INNER * wide}
    tokens: dict[str, Any] = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": None}
    made: nn.Module = hf.T5ForConditionalGeneration(hf.T5Config(**sizes, **tokens))
    return made


def _whisper(wide: int) -> nn.Module:
    layers: dict[str, Any] = {f"{side}_layers": 2 for side in ("encoder", "decoder")}
    heads: dict[str, Any] = {f"{side}_attention_heads": 4 for side in ("encoder", "decoder")}
    inner = INNER * wide
    widths: dict[str, Any] = {"d_model": WIDTH * wide, "encoder_ffn_dim": inner, "decoder_ffn_dim": inner}
    widths["num_mel_bins"] = 8
    places: dict[str, Any] = {"max_source_positions": 16, "max_target_positions": 16, "vocab_size": 32}
    tokens: dict[str, Any] = {**TOKENS, "decoder_start_token_id": 1, "suppress_tokens": None}
    config = hf.WhisperConfig(**layers, **heads, **widths, **places, **tokens, begin_suppress_tokens=None)
    made: nn.Module = hf.WhisperForConditionalGeneration(config)
    return made


def _bert(wide: int) -> nn.Module:
    sizes: dict[str, Any] = {"num_attention_heads": 4, "num_labels": 3, "max_position_embeddings": 32}
    widths: dict[str, Any] = {"hidden_size": WIDTH * wide, "intermediate_size": INNER * wide}
    made: nn.Module = hf.BertForSequenceClassification(hf.BertConfig(**SIZES, **sizes, **widths))
    return made


def _vit(wide: int) -> nn.Module:
    sizes: dict[str, Any] = {"num_attention_heads": 4, "num_labels": 3, "num_hidden_layers": 2}
    widths: dict[str, Any] = {"hidden_size": WIDTH * wide, "intermediate_size": INNER * wide}
    shape: dict[str, Any] = {"image_size": 8, "patch_size": 4, "num_channels": 3}
    config = hf.ViTConfig(**sizes, **widths, **shape)
    made: nn.Module = hf.ViTForImageClassification(config)
    return made


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 2])
SOUND = {"input_features": _numbers(2, 8, 32)}
KINDS: tuple[Kind, ...] = (
    _decoder("Llama", hf.LlamaForCausalLM, hf.LlamaConfig),
    _decoder("Qwen3", hf.Qwen3ForCausalLM, hf.Qwen3Config, head_dim=8, tie_word_embeddings=True),
    _decoder("Gemma", hf.GemmaForCausalLM, hf.GemmaConfig, head_dim=8),
    _decoder("Mistral", hf.MistralForCausalLM, hf.MistralConfig),
    _decoder("Mixtral", hf.MixtralForCausalLM, hf.MixtralConfig, num_local_experts=4, experts_implementation="eager"),
    Kind("Mamba", _mamba, {"input_ids": IDS, "labels": IDS}, {"input_ids": IDS[:, :3]}),
    Kind("GPT-2", _gpt2, {"input_ids": IDS, "labels": IDS}, {"input_ids": IDS[:, :3]}),
    Kind("T5", _t5, {"input_ids": IDS, "labels": IDS}, {"input_ids": IDS}),
    Kind("Whisper", _whisper, {**SOUND, "labels": IDS}, SOUND),
    Kind("BERT", _bert, {"input_ids": IDS, "labels": LABELS}, None, "classifier"),
    Kind("ViT", _vit, {"pixel_values": _numbers(2, 3, 8, 8), "labels": LABELS}, None, "classifier"),
)
