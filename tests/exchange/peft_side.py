"""Real peft models beside ours: built, trained (moved), saved, loaded, and outputs compared."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn

from tests.runtime.models import bert, gpt2, hidden, llama, qwen3
from variants import Targets

Names = tuple[str, ...]
FAMILIES: dict[str, tuple[Callable[[], nn.Module], Names, Names]] = {
    "llama": (llama, ("q_proj", "v_proj"), ("down_proj",)),
    "qwen3": (qwen3, ("q_proj", "v_proj"), ("down_proj",)),
    "bert": (bert, ("query", "value"), ("intermediate.dense",)),
}
"""Builder, names in the attention and names in the feed-forward blocks."""
CONV1D: dict[str, tuple[Callable[[], nn.Module], Names, Names]] = {"gpt2": (gpt2, ("c_attn",), ("mlp.c_proj",))}
"""Families whose layers store their weights transposed, on which peft puts only some methods."""
ALL = FAMILIES | CONV1D
LIMITS = {torch.float64: 1e-12, torch.float32: 2e-5}
"""Largest error of an output relative to the largest output: sums in another order."""
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
LEAST_CHANGE = 1e-3
"""Smallest change of the outputs by a trained adapter, relative: far above every limit."""


def base_model(family: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The family's tiny model with random weights, in evaluation mode."""
    return ALL[family][0]().to(dtype).eval()


def both_targets(family: str) -> list[str]:
    """Attention and feed-forward names, as peft takes them."""
    return [*ALL[family][1], *ALL[family][2]]


def as_targets(names: list[str] | Names) -> Targets:
    """The same choice for our configs."""
    return Targets(include=tuple(names))


@contextmanager
def quiet() -> Iterator[None]:
    """peft warns about what is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trained_in_peft(model: nn.Module, config: peft.PeftConfig, folder: Path) -> nn.Module:
    """A peft model on a copy of ``model``, every tensor of the adapter moved, saved to ``folder``."""
    with quiet():
        wrapped = peft.get_peft_model(copy.deepcopy(model), config).eval()
        moved = 0
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
                    moved += 1
        assert moved
        wrapped.save_pretrained(str(folder))
    return wrapped


def loaded_in_peft(model: nn.Module, folder: Path) -> nn.Module:
    """What peft makes of ``folder`` on a copy of ``model``; a key that it misses or does not know is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapped: nn.Module = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder)).eval()
    complaints = [str(each.message) for each in caught if "missing" in str(each.message).lower()]
    assert not complaints, complaints
    return wrapped


def outputs(model: nn.Module) -> Tensor:
    """Logits or last hidden state, without gradients."""
    with torch.no_grad():
        return hidden(model)


def assert_same_outputs(got: nn.Module, want: nn.Module, base: nn.Module) -> None:
    """Both compute the same, and not what the base does."""
    y, expected, plain = outputs(got), outputs(want), outputs(base)
    scale = expected.abs().max().item()
    change = (expected - plain).abs().max().item()
    assert change > LEAST_CHANGE * scale, f"the adapter changes the outputs by {change:.2g} only"
    error = (y - expected).abs().max().item()
    assert error <= LIMITS[expected.dtype] * scale, f"outputs differ by {error:.3g} of {scale:.3g}"


def move(attachment: Any) -> None:
    """Take every trainable tensor away from its start."""
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def saved(base: nn.Module, folder: Path, **options: Any) -> Path:
    """A good LoRA folder from peft."""
    trained_in_peft(base, peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj", "down_proj"], **options}), folder)
    return folder


def change_fields(folder: Path, **changes: Any) -> None:
    """Rewrite the config."""
    fields = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**fields, **changes}))
