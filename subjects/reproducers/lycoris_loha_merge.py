"""lycoris-lora 4.1.3: merging LoHa multiplies by alpha / r twice, so the output moves. Wants lycoris-lora alone."""

import torch
from lycoris.modules.loha import LohaModule
from torch import nn

torch.manual_seed(0)
layer = nn.Linear(12, 20).double()
W = layer.weight.detach().clone()
module = LohaModule("name", layer, lora_dim=4, alpha=6).double()
for tensor in module.parameters():
    tensor.data.normal_(std=0.3)
module.apply_to()
x = torch.randn(5, 12, dtype=torch.float64)
before = layer(x).detach()
update = (module.hada_w1_a @ module.hada_w1_b) * (module.hada_w2_a @ module.hada_w2_b)
assert torch.allclose(before, x @ (W + 1.5 * update).T + layer.bias, atol=1e-12)
module.restore()
module.merge_to(1.0)
print("merging moves the output by up to", (layer(x) - before).abs().max().item())
assert torch.allclose(layer.weight, W + 1.5**2 * update, atol=1e-12)
assert (layer(x) - before).abs().max() > 0.01
