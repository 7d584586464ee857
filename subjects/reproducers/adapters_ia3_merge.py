"""adapters 1.3.0: merging (IA)^3 leaves the bias ungated, so the output moves. Wants adapters."""

import torch
from adapters import IA3Config, ModelAdaptersConfig
from adapters.composition import Stack
from adapters.methods.lora import LoRALinear
from torch import nn
from transformers import BertConfig

torch.manual_seed(0)
adapters = ModelAdaptersConfig()
adapters.add("a", config=IA3Config(dtype=None))
adapters.active_setup = Stack("a")
layer = LoRALinear.wrap(nn.Linear(12, 20), "selfattn", BertConfig(), adapters)
layer.add_adapter("a", 0)
g = layer.loras["a"].lora_B
nn.init.normal_(g)
x = torch.randn(1, 5, 12)
before = layer(x)
layer.merge_adapter("a")
off = (layer(x) - before).detach()
print("merging moves the output by up to", off.abs().max().item())
assert torch.allclose(off, ((1 - g.view(-1)) * layer.bias).detach().expand_as(off), atol=1e-5)
assert off.abs().max() > 0.01
