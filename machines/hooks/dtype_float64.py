"""The caller has made float64 torch's default dtype."""

import torch

torch.set_default_dtype(torch.float64)
