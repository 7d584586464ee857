"""The caller lets torch multiply float32 matrices in bfloat16."""

import torch

torch.set_float32_matmul_precision("medium")
