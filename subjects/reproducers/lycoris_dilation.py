"""lycoris-lora 4.1.3: LoCon in bypass mode loses a convolution's dilation, and raises. Wants lycoris-lora alone."""

import torch
from lycoris.modules.locon import LoConModule
from torch import nn

torch.manual_seed(0)
x = torch.randn(2, 6, 9, 9)
shapes: dict[bool, object] = {}
for bypass in (False, True):
    layer = nn.Conv2d(6, 8, 3, dilation=2)
    LoConModule("name", layer, lora_dim=4, alpha=6, bypass_mode=bypass).apply_to()
    try:
        shapes[bypass] = tuple(layer(x).shape)
    except RuntimeError as error:
        shapes[bypass] = str(error)
print(shapes)
assert shapes[False] == (2, 8, 5, 5)
assert "must match" in str(shapes[True])
