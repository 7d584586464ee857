"""The caller has denormal numbers flushed to zero. A property of the thread; new threads get it from their parent."""

import torch

torch.set_flush_denormal(True)
