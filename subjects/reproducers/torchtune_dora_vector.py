"""torchtune 0.6.1: DoRALinear gives a single vector a batch dimension: (12,) in, (1, 20) out. Wants torchtune alone."""

import torch
from torch import nn
from torchtune.modules.peft import DoRALinear

layer = DoRALinear(12, 20, rank=4, alpha=6.0)
layer.initialize_dora_magnitude()
got, want = layer(torch.ones(12)).shape, nn.Linear(12, 20)(torch.ones(12)).shape
print("got", tuple(got), "want", tuple(want))
assert got != want
