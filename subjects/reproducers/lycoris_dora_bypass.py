"""lycoris-lora 4.1.3: with bypass_mode, weight_decompose has no effect: it is LoRA. Wants lycoris-lora alone."""

import torch
from lycoris.modules.locon import LoConModule
from torch import nn

torch.manual_seed(0)
layer = nn.Linear(12, 20).double()
W = layer.weight.detach().clone()
module = LoConModule("name", layer, lora_dim=4, alpha=6, weight_decompose=True, bypass_mode=True).double()
module.lora_up.weight.data.normal_()
module.apply_to()
x = torch.randn(5, 12, dtype=torch.float64)
y = layer(x).detach()
V = (W + 1.5 * module.lora_up.weight @ module.lora_down.weight).detach()
assert torch.allclose(y, x @ V.T + layer.bias, atol=1e-12)
dora = x @ (module.dora_scale / V.norm(dim=1, keepdim=True) * V).T + layer.bias
print("off from DoRA by up to", (y - dora).abs().max().item())
assert (y - dora).abs().max() > 0.01
module.restore()
module.merge_to(1.0)
assert torch.allclose(layer(x), dora, atol=1e-6), "the merged layer is DoRA"
