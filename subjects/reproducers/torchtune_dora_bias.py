"""torchtune 0.6.1: DoRALinear scales the bias: its output is off by (m/|V| - 1) * bias. Wants torchtune alone."""

import torch
from torchtune.modules.peft import DoRALinear

torch.manual_seed(0)
layer = DoRALinear(12, 20, rank=4, alpha=6.0, use_bias=True).double()
torch.nn.init.normal_(layer.lora_b.weight)
layer.initialize_dora_magnitude()
layer.magnitude.data *= 1.5
x = torch.randn(5, 12, dtype=torch.float64)
V = layer.weight + 1.5 * layer.lora_b.weight @ layer.lora_a.weight
factor = layer.magnitude / V.norm(dim=1)
paper = x @ (factor[:, None] * V).T + layer.bias
off = (layer(x) - paper).detach()
print("off by up to", off.abs().max().item())
assert torch.allclose(off, ((factor - 1) * layer.bias).detach().expand_as(off), atol=1e-12)
assert off.abs().max() > 0.01
