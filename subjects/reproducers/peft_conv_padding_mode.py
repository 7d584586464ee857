"""peft 0.21.2: LoRA on a convolution pads its part with zeros where the layer pads by reflection.

So the output is not that of the merged weight. Wants peft alone.
"""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
off = {}
for mode in ("zeros", "reflect"):
    plain = nn.Conv2d(8, 8, 3, padding=1, padding_mode=mode).double()
    model = get_peft_model(nn.Sequential(plain), LoraConfig(r=4, target_modules=["0"])).double().eval()
    layer = model.base_model.model[0]
    layer.lora_B["default"].weight.data.normal_()
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    y = model(x).detach()
    layer.merge()
    off[mode] = (model(x) - y).abs().max().item()
print("merging moves the output by up to", off)
assert off["zeros"] < 1e-10
assert off["reflect"] > 0.01
