"""loralib 0.1.2: lora_dropout has no effect on convolutions. Wants loralib alone."""

import loralib
import torch
from torch import nn

torch.manual_seed(0)
same = {}
for name, layer, x in (
    ("Linear", loralib.Linear(6, 8, r=2, lora_dropout=0.9), torch.randn(4, 6)),
    ("Conv2d", loralib.Conv2d(6, 8, 3, r=2, lora_dropout=0.9), torch.randn(4, 6, 9, 9)),
):
    nn.init.normal_(layer.lora_B)
    layer.train()
    same[name] = torch.equal(layer(x), layer(x))
print("two calls in training mode give equal outputs:", same)
assert same == {"Linear": False, "Conv2d": True}
