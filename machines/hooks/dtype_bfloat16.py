"""The caller has made bfloat16 torch's default dtype."""

import torch

torch.set_default_dtype(torch.bfloat16)
