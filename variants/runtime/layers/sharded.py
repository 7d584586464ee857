"""Parameters that are sharded over processes (FSDP2's DTensors): gathered to be saved, refused to be merged.

Source: ``torch.distributed.fsdp.fully_shard``, ``torch.distributed.tensor.DTensor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from variants.runtime.errors import AdapterError


def is_sharded(tensor: object) -> bool:
    """Whether a tensor is a DTensor."""
    return hasattr(tensor, "full_tensor")


def gathered(tensors: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
    """Whole tensors, and whether this process is the one to write them. All processes have to call it together."""
    sharded = any(is_sharded(t) for t in tensors.values())
    whole = {key: t.full_tensor() if is_sharded(t) else t for key, t in tensors.items()}
    return whole, not sharded or torch.distributed.get_rank() == 0


GATHER = "Save the adapter, load it onto the base in one process, and merge there."
FIRST = "Attach to the whole model, and shard it with its adapter afterwards (fully_shard)."


def refuse_sharded(tensor: object, where: str, fix: str = GATHER) -> None:
    """For what reads all of a weight, or writes to it."""
    if is_sharded(tensor):
        raise AdapterError(
            got="a weight that is sharded over processes (FSDP2)",
            want="a whole one",
            where=where,
            fix=fix,
        )
