"""EVA's ranks over several layers: who gets how many, and that a file keeps them."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import snapshot
from tests.variants.eva_inputs import batches
from variants import EVAConfig, attach, detach, load, save


class Stack(nn.Module):
    """Three layers; the last one's inputs vary in one direction only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        """Each with the inputs of its own."""
        lone = torch.zeros_like(x) + x.sum(-1, keepdim=True)
        y: Tensor = self.a(x) + self.b(torch.relu(x)) + self.c(lone).sum(-1, keepdim=True)
        return y


def peft_ranks(model: nn.Module, rows: list[Tensor], config: EVAConfig) -> dict[str, tuple[int, float]]:
    """Rank and scale of each layer after peft's own redistribution."""
    from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights

    eva = EvaConfig(rho=config.rho, adjust_scaling_factors=config.adjust_scaling)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lora = LoraConfig(
            r=config.r,
            lora_alpha=config.alpha,
            use_rslora=config.rslora,
            init_lora_weights="eva",
            eva_config=eva,
            target_modules=["a", "b", "c"],
        )
        wrapped: Any = get_peft_model(copy.deepcopy(model), lora)
        plain = {"prepare_model_inputs_fn": None, "prepare_layer_inputs_fn": None, "show_progress_bar": False}
        initialize_lora_eva_weights(wrapped, rows, forward_fn=lambda m, x: m(x), **plain)
    layers = {name: getattr(wrapped.base_model.model, name) for name in "abc"}
    return {n: (m.r["default"], m.scaling["default"]) for n, m in layers.items() if hasattr(m, "r")}


@pytest.mark.parametrize("options", [{}, {"adjust_scaling": False}, {"rslora": True}, {"rho": 1.5}, {"rho": 1.0}])
def test_ranks_are_those_of_peft(options: dict[str, Any]) -> None:
    """Otherwise the budget, the cap, or the scale of a layer with a new rank would be another."""
    model = Stack()
    rows = batches(torch.cat([torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5]), torch.full((10,), 0.1)]), 1, rows=200)
    config = EVAConfig(r=4, alpha=6.0, **options)
    layers = attach(copy.deepcopy(model), config, calibration=rows).layers
    got = {name: (adapter.config.r, adapter.config.scale) for name, adapter in layers.items()}
    want = peft_ranks(model, rows, config)
    assert {name: r for name, (r, _) in got.items()} == {name: r for name, (r, _) in want.items()}
    assert got == {name: (r, pytest.approx(scale)) for name, (r, scale) in want.items()}
    if config.rho > 1:
        assert len({r for r, _ in got.values()}) > 1


class Biased(nn.Module):
    """Two layers; the inputs of ``flat`` vary equally in all directions, so that all of them lose to ``sharp``'s."""

    def __init__(self) -> None:
        super().__init__()
        self.sharp, self.flat = nn.Linear(4, 5), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Two views of one input."""
        y: Tensor = self.sharp(x[..., :4]) + self.flat(x)
        return y


def test_loading_needs_no_calibration(tmp_path: Path) -> None:
    """Otherwise redistributed ranks, scales, or a layer that got none would be lost in a file."""
    model, rows = Biased(), [torch.randn(400, 32)]
    plain, before, x = copy.deepcopy(model), snapshot(model), torch.randn(5, 32)
    attachment = attach(model, EVAConfig(r=2, alpha=3.0), calibration=rows)
    assert {n: a.config.r for n, a in attachment.layers.items()} == {"sharp": 4}
    assert attachment.left_out == ("flat",)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(torch.randn_like(parameter))
    save(model, tmp_path / "adapter.safetensors")
    again = load(plain, tmp_path / "adapter.safetensors")
    assert torch.equal(plain(x), model(x))
    assert again.layers["sharp"].config == attachment.layers["sharp"].config
    detach(model)
    assert snapshot(model) == before
