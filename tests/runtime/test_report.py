"""What ``attach`` says about what it took and what it left."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from torch import nn

from tests.runtime.models import SIZES, llama, small_config
from variants import EVAConfig, LoRAConfig, Targets, attach


def mixtral() -> nn.Module:
    """Experts stacked in parameters of three dimensions."""
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return hf.MixtralForCausalLM(hf.MixtralConfig(**SIZES, **heads, intermediate_size=24, num_local_experts=4))


def test_numbers() -> None:
    """Otherwise a user could not see how much is trained, or would be told a share of something else."""
    model = llama()
    total = sum(p.numel() for p in model.parameters())
    attachment = attach(model, small_config("lora", Targets(include=("q_proj",))))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"trains {trained:,} parameters; the model has {total:,}" in attachment.report
    assert "on: model.layers.*.self_attn.q_proj (2)" in attachment.report
    assert repr(attachment) == str(attachment) == attachment.report


def test_experts_are_not_left_out_in_silence() -> None:
    """Otherwise three quarters of a mixture of experts would have no adapter, and nothing would say so."""
    model = mixtral()
    stacked = sum(p.numel() for p in model.parameters() if p.dim() == 3)
    report = attach(model, LoRAConfig(r=2)).report
    how = "stacked in one parameter: a target by Targets(parameters=...) alone"
    assert f"MixtralExperts ({how}): {stacked:,} parameters" in report
    assert "experts.gate_up_proj" in report


def test_the_output_head_and_multihead_attention_are_named() -> None:
    """Otherwise what the default leaves out would look as if it had an adapter."""
    assert "lm_head: the output head" in attach(llama(), LoRAConfig(r=2)).report
    report = attach(nn.Sequential(nn.MultiheadAttention(6, 2), nn.Linear(6, 6)), LoRAConfig(r=2)).report
    assert "0.out_proj: MultiheadAttention reads its weight" in report


def test_layers_that_the_method_gives_nothing() -> None:
    """Otherwise a rank of 0, by EVA's own choice, would look like a layer that was forgotten."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(6) * 1e-3)
        model[0].bias.copy_(torch.ones(6))
    attachment = attach(model, EVAConfig(r=2, rho=2.0), calibration=[torch.randn(16, 6) for _ in range(4)])
    assert set(attachment.layers) | set(attachment.left_out) == {"0", "1"}
    for name in attachment.left_out:
        assert f"left out: {name}: eva gives it no adapter" in attachment.report
