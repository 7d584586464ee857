"""lycoris-lora 4.1.3: IA3Module does not gate the bias: (IA)^3 is g * (W x + b). Wants lycoris-lora alone."""

import torch
from lycoris.modules.ia3 import IA3Module
from torch import nn

torch.manual_seed(0)
layer = nn.Linear(12, 20).double()
plain = nn.Linear(12, 20).double()
plain.load_state_dict(layer.state_dict())
module = IA3Module("name", layer).double()
module.weight.data.normal_()
module.apply_to()
x = torch.randn(5, 12, dtype=torch.float64)
g = 1 + module.weight
off = (layer(x) - g * plain(x)).detach()
print("off by up to", off.abs().max().item())
assert torch.allclose(off, ((1 - g) * plain.bias).detach().expand_as(off), atol=1e-12)
assert off.abs().max() > 0.01
