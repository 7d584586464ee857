"""Layers that are not a plain nn.Linear in float32: quantised, shared, tied, in half precision, called by keyword."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, Mlp, Quantised, move, qwen3, small_config, snapshot
from variants import HRAConfig, LoRAConfig, Targets, attach, detach, load, save
from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError
from variants.runtime.spec import TensorSpec

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_keyword_call(name: str) -> None:
    """Otherwise ``layer(input=x)`` would step around the adapter, or fail."""
    layer = nn.Linear(6, 10)
    attach(layer, small_config(name))
    move(layer)
    assert torch.equal(layer(input=X), layer(X))


@pytest.mark.parametrize("name", NAMES)
def test_model_that_is_one_layer(name: str) -> None:
    """Otherwise the nameless root could not be a target."""
    layer = nn.Linear(6, 10)
    before = snapshot(layer)
    assert list(attach(layer, small_config(name)).layers) == [""]
    detach(layer)
    assert snapshot(layer) == before


@pytest.mark.parametrize("name", ["lora", "ia3", "ia3_ff"])
def test_quantised_layer(name: str) -> None:
    """Otherwise layers with integer weights, no bias attribute and an input called ``x`` could not be adapted."""
    layer = Quantised(6, 10)
    plain = layer(X)
    attach(layer, small_config(name))
    torch.testing.assert_close(layer(x=X), plain)
    move(layer)
    assert torch.equal(layer(x=X), layer(X))
    assert not torch.allclose(layer(X), plain, atol=1e-3)
    detach(layer)
    assert torch.equal(layer(X), plain)


def test_8_bit_floats() -> None:
    """Otherwise the check for NaN, which torch lacks for 8-bit floats, would refuse every such base."""
    layer = nn.Linear(6, 10)
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    assert attach(layer, small_config("lora")).fingerprints


def test_shared_and_tied() -> None:
    """Otherwise a module used twice would be hooked twice, or a tied weight come back untied or half frozen."""
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, layer, nn.Linear(6, 6))
    model[2].weight = layer.weight
    before = snapshot(model)
    attachment = attach(model, small_config("lora"))
    assert list(attachment.layers) == ["0", "2"]
    detach(model)
    assert snapshot(model) == before
    assert model[2].weight is layer.weight is model[1].weight


@pytest.mark.parametrize(("name", "takes_a_part"), [("antipasto", True), ("pissa", True), ("lora", False)])
def test_load_onto_a_weight_that_is_tied(name: str, takes_a_part: bool, tmp_path: Path) -> None:
    """Otherwise a load would take a part out of a weight that another module reads, or refuse what touches none."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    attach(model, small_config(name, Targets(include=("0",))))
    save(model, tmp_path / "adapter.safetensors")
    detach(model)
    model[1].weight = model[0].weight
    before = snapshot(model)
    if not takes_a_part:
        assert list(load(model, tmp_path / "adapter.safetensors").layers) == ["0"]
        return
    with pytest.raises(AdapterError, match=r"tied|shared|same"):
        load(model, tmp_path / "adapter.safetensors")
    assert snapshot(model) == before


def test_tied_output_head() -> None:
    """Otherwise adapting a tied head would touch the embedding, or leave it frozen after detach."""
    model = qwen3()
    before = snapshot(model)
    attach(model, LoRAConfig(r=2, targets=Targets(include=("lm_head",))))
    detach(model)
    assert snapshot(model) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_adapter_dtype_on_a_bfloat16_base(name: str, dtype: torch.dtype | None) -> None:
    """Otherwise adapters would follow a half-precision base (IA3 would never move), or outputs change dtype."""
    model = Mlp().bfloat16()
    options: dict[str, Any] = {"dtype": dtype} if dtype else {}
    attachment = attach(model, small_config(name, **options))
    assert {t.dtype for t in attachment.tensors().values()} == {dtype or torch.float32}
    move(model)
    assert model(X.bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize("training", [True, False])
def test_adapter_follows_the_mode_of_its_layer(training: bool) -> None:
    """Otherwise dropout would act in a model that was put into eval() before attach."""
    model = Mlp().train(training)
    attach(model, small_config("lora", dropout=0.5))
    assert {m.training for m in model.modules()} == {training}
    model.train(not training)
    assert {m.training for m in model.modules()} == {not training}


class Swap(Adapter):
    """A variant of the test's own, on both sides of the layer, with a frozen tensor and a buffer."""

    name = "swap"
    Config = HRAConfig

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        """One of each kind."""
        return {
            "frozen": TensorSpec((d_in,), "ones", trainable=False),
            "kept": TensorSpec((d_out,), "ones", buffer=True),
        }

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Twice."""
        return x + x * self.frozen  # type: ignore[operator]

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Minus one."""
        return y - self.kept  # type: ignore[operator]


def test_variant_of_your_own() -> None:
    """Otherwise only registered variants could be attached, or none that acts on both sides or keeps frozen tensors."""
    layer = nn.Linear(6, 10)
    attachment = attach(layer, HRAConfig(), variant=Swap)
    torch.testing.assert_close(layer(X), nn.functional.linear(2 * X, layer.weight, layer.bias) - 1)
    assert not list(attachment.parameters())
    assert set(attachment.tensors()) == {".frozen", ".kept"}
    assert [name for name, _ in layer.named_buffers()] == ["adapter.kept"]
