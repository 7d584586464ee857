"""peft 0.21.2: unmerging (IA)^3 divides by g + 1e-8, so the old weight is lost in float64. Wants peft alone."""

import torch
from peft import IA3Config, get_peft_model
from torch import nn

torch.manual_seed(0)
W = nn.Linear(12, 20).double()
before = W.weight.detach().clone()
model = get_peft_model(nn.Sequential(W), IA3Config(target_modules=["0"], feedforward_modules=[]))
layer = model.base_model.model[0]
g = layer.ia3_l["default"].data.normal_().double()
layer.merge()
layer.unmerge()
share = ((layer.base_layer.weight - before) / before).detach()
print("the weight is back to a share of", share.abs().max().item(), "of itself; float64 has 2e-16")
assert share.abs().max() > 1e-9
