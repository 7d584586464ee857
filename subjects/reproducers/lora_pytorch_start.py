"""lora-pytorch 0.2.0: A's start does not depend on the number of inputs: the fan is that of the transposed matrix.

LoRA draws A from U(-b, b) with b = sqrt(6 / (1 + a^2) / fan), fan = the number of inputs. Wants lora-pytorch alone.
"""

import torch
from lora_pytorch import LoRA
from torch import nn

torch.manual_seed(0)
edges = [LoRA.from_module(nn.Linear(n, 8), rank=4).lora_module.in_proj.abs().max().item() for n in (64, 4096)]
print("largest |A| for 64 and for 4096 inputs:", edges, "want 1/8 and 1/64 (a = sqrt(5))")
assert 0.9 < edges[0] / edges[1] < 1.1
assert edges[1] > 1.0
