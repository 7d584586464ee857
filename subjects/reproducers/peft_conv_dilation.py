"""peft 0.21.2: LoRA on a dilated convolution loses the dilation, and raises at its first call. Wants peft alone."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
x = torch.randn(2, 8, 9, 9)
said = {}
for dilation in (1, 2):
    model = get_peft_model(nn.Sequential(nn.Conv2d(8, 8, 3, dilation=dilation)), LoraConfig(r=4, target_modules=["0"]))
    try:
        said[dilation] = str(tuple(model(x).shape))
    except RuntimeError as error:
        said[dilation] = str(error)
print(said)
assert said[1] == "(2, 8, 7, 7)"
assert "must match" in said[2]
