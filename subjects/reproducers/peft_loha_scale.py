"""peft 0.21.2: LoHa holds alpha / r in float32, so a float64 layer computes with 0.800000012. Wants peft alone."""

import torch
from peft import LoHaConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
config = LoHaConfig(r=10, alpha=8, target_modules=["0"])
model = get_peft_model(nn.Sequential(nn.Linear(12, 20).double()), config).double().eval()
layer = model.base_model.model[0]
w1_a, w1_b, w2_a, w2_b = (
    getattr(layer, f"hada_{name}")["default"].data.normal_() for name in ("w1_a", "w1_b", "w2_a", "w2_b")
)
update = (w1_a @ w1_b) * (w2_a @ w2_b)
share = layer.get_delta_weight("default") / update
print("the update is multiplied by", share.mean().item(), "want 0.8")
assert torch.allclose(share, torch.tensor(0.8).double().expand_as(share), rtol=1e-13, atol=0)
assert not torch.allclose(share, torch.tensor(0.8, dtype=torch.float64).expand_as(share), rtol=1e-10, atol=0)
