"""adapters 1.3.0: DoRA's output is not that of the paper, and its merge leaves alpha / r out. Wants adapters alone."""

import torch
from adapters import LoRAConfig, ModelAdaptersConfig
from adapters.composition import Stack
from adapters.methods.lora import LoRALinear
from torch import nn
from transformers import BertConfig

torch.manual_seed(0)
plain = nn.Linear(12, 20)
W, b = plain.weight.detach().clone(), plain.bias.detach().clone()
adapters = ModelAdaptersConfig()
adapters.add("a", config=LoRAConfig(r=4, alpha=6, use_dora=True, dtype=None))
adapters.active_setup = Stack("a")
layer = LoRALinear.wrap(plain, "selfattn", BertConfig(), adapters)
layer.add_adapter("a", 0)
lora = layer.loras["a"]
nn.init.normal_(lora.lora_B)
A, B, m = lora.lora_A.detach(), lora.lora_B.detach(), lora.m.weight.detach().view(-1)
x = torch.randn(1, 5, 12)
V = W + 1.5 * B @ A
paper = x @ (m / V.norm(dim=1))[:, None].mul(V).T + b
print("output off by up to", (layer(x) - paper).abs().max().item())
assert (layer(x) - paper).abs().max() > 0.01
layer.merge_adapter("a")
unscaled = W + B @ A
print("merged weight off by up to", (layer.weight - (m / V.norm(dim=1))[:, None] * V).abs().max().item())
assert torch.allclose(layer.weight, (m / unscaled.norm(dim=1))[:, None] * unscaled, atol=1e-5)
assert not torch.allclose(layer.weight, (m / V.norm(dim=1))[:, None] * V, atol=1e-2)
