"""lora-pytorch 0.2.0: the frozen layer runs under no_grad, so the gradient of x misses W. Wants lora-pytorch alone."""

import torch
from lora_pytorch import LoRA
from torch import nn

torch.manual_seed(0)
layer = nn.Linear(12, 20)
x = torch.randn(5, 12, requires_grad=True)
LoRA.from_module(layer, rank=4)(x).sum().backward()
assert x.grad is not None
print(
    "gradient of x at the start:",
    x.grad.abs().max().item(),
    "that of the layer alone:",
    layer.weight.sum(0).abs().max().item(),
)
assert not x.grad.any()
assert layer.weight.sum(0).any()
