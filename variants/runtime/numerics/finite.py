"""Whether a tensor holds numbers only, in every floating-point dtype there is."""

from __future__ import annotations

import torch
from torch import Tensor


def all_finite(t: Tensor) -> bool:
    """No NaN and no infinity. ``torch.isfinite`` does not know the 8-bit floats."""
    t = t.detach()
    return bool(torch.isfinite(t.float() if t.is_floating_point() and t.itemsize == 1 else t).all())
