"""lycoris-lora 4.1.3: the adapter of a convolution pads with zeros where the layer pads by reflection.

So the output is not that of the merged weight. Wants lycoris-lora alone.
"""

import torch
from lycoris.modules.locon import LoConModule
from torch import nn

torch.manual_seed(0)
off = {}
for mode in ("zeros", "reflect"):
    layer = nn.Conv2d(6, 8, 3, padding=1, padding_mode=mode).double()
    module = LoConModule("name", layer, lora_dim=4, alpha=4).double()
    module.lora_up.weight.data.normal_()
    module.apply_to()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    y = layer(x).detach()
    module.restore()
    module.merge_to(1.0)
    off[mode] = (layer(x) - y).abs().max().item()
print("merging moves the output by up to", off)
assert off["zeros"] < 1e-10
assert off["reflect"] > 0.01
