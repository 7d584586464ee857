"""A file whose tensors do not fit is refused with one clear error, and the model is as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.exchange.peft_side import TENSORS, saved
from tests.runtime.models import refused
from variants import import_peft

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Rewrite the tensors."""
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS, {"format": "pt"})


def test_the_good_tensors_are_taken(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise every refusal below would prove nothing."""
    folder = saved(base, tmp_path)
    change_tensors(folder, lambda t: None)
    (attachment,) = import_peft(copy.deepcopy(base), folder)
    assert len(attachment.layers) == 4


def set_entry(key: str, value: Any) -> Callable[[dict[str, Tensor]], object]:
    """Change one tensor."""
    return lambda tensors: tensors.update({key: value(tensors.get(key))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{Q}.lora_A.weight"), rf"tensors: 1 missing \({Q}.lora_A.weight\)\."),
        (set_entry(f"{Q}.lora_C.weight", lambda _: torch.zeros(1)), rf"tensors: 1 unknown \({Q}.lora_C.weight\)"),
        (set_entry(f"{Q}.lora_magnitude_vector", lambda _: torch.ones(16)), "1 unknown .*lora_magnitude_vector"),
        (
            set_entry(f"{Q}.lora_A.weight", lambda t: t.T.contiguous()),
            r"wrong in 1 of .*lora_A.weight: got \(16, 2\), want",
        ),
        (set_entry(f"{Q}.lora_A.weight", lambda t: t.flatten()), r"lora_A.weight: got \(32,\), want \(2, 16\)"),
        (set_entry(f"{Q}.lora_A.weight", lambda t: t * float("nan")), rf"NaN or infinity in {Q}.lora_A.weight"),
        (set_entry(f"{Q}.lora_A.weight", lambda t: t.int()), r"lora_A.weight of torch.int32; want one of float32"),
        (set_entry(f"{Q}.lora_A.weight", lambda t: t.to(torch.float8_e4m3fn)), "of torch.float8_e4m3fn; want one of"),
        (
            set_entry("base_model.model.score.weight", lambda _: torch.ones(2, 2)),
            "unknown .*score.weight",
        ),
        (
            set_entry("base_model.model.model.embed_tokens.weight", lambda _: torch.ones(32, 16)),
            "1 unknown .base_model.model.model.embed_tokens.weight",
        ),
        (
            lambda t: t.update({key.removeprefix("base_model."): t.pop(key) for key in list(t)}),
            r"\d+ missing \(base_model.model",
        ),
        (lambda t: t.clear(), r"\d+ missing \(base_model.model"),
    ],
)
def test_tensors(change: Callable[[dict[str, Tensor]], object], message: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise part of an adapter, or another adapter, would be taken for this one."""
    folder = saved(base, tmp_path)
    change_tensors(folder, change)
    with refused(base, message):
        import_peft(base, folder)
