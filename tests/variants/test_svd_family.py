"""What holds for every SVD-steering variant: identity, steering, calibration, save and load, detach."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.settings import Settings
from variants import AdapterError, Attachment, Targets, attach, config_for, detach, load, save

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gain": ("antipasto", {}),
    "suppress": ("antipasto", {"suppress_only": True, "act_pool": "mean_abs"}),
    "rot_V": ("antipasto_rot", {"block_size": 2}),
    "rot_U": ("antipasto_rot", {"rotate_basis": "U"}),
    "rot_both": ("antipasto_rot", {"rotate_basis": "both", "max_rotation_angle": 1.2}),
    "ablate": ("antipasto_ablate", {}),
    "ablate_oriented": ("antipasto_ablate", {"k": 2, "cov_orient": True, "cov_eps": 1e-2}),
    "corda": ("antipasto_corda", {"cov_eps": 1e-2}),
    "arrow": ("antipasto_arrow", {"block": 2}),
}
every = pytest.mark.parametrize("case", CASES)
calibrated = pytest.mark.parametrize("case", [case for case in CASES if case != "ablate"])


class Stack(nn.Module):
    """Two layers, 12 -> 10 -> 9, the second of which sees what the first gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 10)
        self.second = nn.Linear(10, 9, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rows of 12."""
        y: Tensor = self.second(torch.tanh(self.first(x)))
        return y


def batches(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The same every time; not centred, and not the same in all directions."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 12, generator=generator) * torch.linspace(0.1, 3, 12) + 0.5
    return list(x.to(dtype).split(25))


def put_on(model: nn.Module, case: str, *, dtype: str = "float32", **options: Any) -> Attachment:
    """The variant of a case on every layer of the model, at rank 4, calibrated where it can be."""
    name, own = CASES[case]
    base = next(model.parameters()).dtype
    config = config_for(name, **{"r": 4, "dtype": dtype, **own, **options})
    return attach(model, config, calibration=batches(base) if case != "ablate" else None)


def move(attachment: Attachment) -> None:
    """Train, as it were."""
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coeff_zero_is_the_base_model_whatever_was_trained(case: str, dtype: torch.dtype) -> None:
    """Otherwise steering could not be switched off, or the factors would not add up to the weight."""
    model = Stack().to(dtype)
    x, before = batches(dtype)[0], model(batches(dtype)[0])
    W = {name: p.detach().clone() for name, p in model.named_parameters() if "weight" in name}
    attachment = put_on(model, case, coeff=0.0)
    move(attachment)
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)
    for name, adapter in attachment.layers.items():
        layer = model.get_submodule(name)
        U, S, V = (t.to(dtype) for t in (adapter.U, adapter.S, getattr(adapter, adapter.right)))
        whole, original = layer.weight + U @ torch.diag(S) @ V, W[f"{name}.weight"]
        assert (whole - original).norm() <= (2e-7 if dtype == torch.float32 else 1e-15) * original.norm()


@every
def test_distance_from_the_identity_at_the_start(case: str) -> None:
    """Otherwise the docstring would be wrong about how far the model moves on being attached to."""
    model = Stack().double()
    before = model(batches(torch.float64)[0])
    put_on(model, case, dtype="float64")
    moved = ((model(batches(torch.float64)[0]) - before).norm() / before.norm()).item()
    low, high = {"rot": (1e-5, 2e-3), "ablate": (1e-3, 0.1)}.get(case.split("_")[0], (0.0, 1e-14))
    assert low <= moved <= high


@every
def test_every_trainable_tensor_is_live_at_the_start(case: str) -> None:
    """Otherwise a tensor would get no first gradient, though every start here was chosen so that it does."""
    model = Stack()
    attachment = put_on(model, case)
    x = batches()[0].requires_grad_()
    y = model(x)
    (y * torch.randn_like(y)).sum().backward()
    for parameter in attachment.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0
    assert x.grad is not None
    assert {name for name, p in model.named_parameters() if p.requires_grad and ".adapter." not in name} == set()


@every
def test_steering_at_run_time(case: str) -> None:
    """Otherwise the coefficient would be fixed when the adapter is attached."""
    model, x = Stack().double(), batches(torch.float64)[0]
    untouched = copy.deepcopy(model)
    attachment = put_on(model, case, dtype="float64")
    move(attachment)
    outputs = {coeff: _steered(model, attachment, coeff, x) for coeff in (1.0, 0.5, 0.0, -1.0)}
    torch.testing.assert_close(outputs[0.0], untouched(x), rtol=0, atol=1e-14)
    differing = [(a, b) for a in outputs for b in outputs if a < b and (outputs[a] - outputs[b]).abs().max() > 1e-4]
    assert len(differing) == 6
    other = put_on(untouched, case, dtype="float64", coeff=-1.0)
    for name, adapter in other.layers.items():
        adapter.load_state_dict(attachment.layers[name].state_dict())
    torch.testing.assert_close(untouched(x), outputs[-1.0], rtol=0, atol=1e-14)


def _steered(model: nn.Module, attachment: Attachment, coeff: float, x: Tensor) -> Tensor:
    attachment.steer(coeff)
    y: Tensor = model(x).detach()
    return y


@every
def test_closed_form(case: str) -> None:
    """Otherwise one of two independent readings of the formula would be wrong."""
    name, own = CASES[case]
    model = Stack().double()
    attachment = put_on(model, case, dtype="float64", coeff=0.7)
    move(attachment)
    reference = importlib.import_module(f"refs.methods.{name}")
    settings = Settings(r=4, options=(*own.items(), ("coeff", 0.7)))
    for target, adapter in attachment.layers.items():
        layer: Any = model.get_submodule(target)
        W = layer.weight.detach().numpy()
        tensors = {key: t.detach().numpy() for key, t in adapter.state_dict().items()}
        b = 0 * W[:, 0] if layer.bias is None else layer.bias.detach().numpy()
        W_eff, b_eff = (torch.from_numpy(each) for each in reference._effective(tensors, W, b, settings))
        x = torch.randn(3, 2, layer.in_features).double()
        torch.testing.assert_close(layer(x), x @ W_eff.T + b_eff, rtol=0, atol=1e-12)


@calibrated
def test_calibration_sees_the_original_model(case: str) -> None:
    """Otherwise the second layer's inputs would come from a first layer that already lost its top directions."""
    both, alone = Stack(), Stack()
    alone.load_state_dict(both.state_dict())
    second = put_on(both, case).layers["second"]
    expected = put_on(alone, case, targets=Targets(include=("second",))).layers["second"]
    for name, tensor in expected.named_buffers():
        assert torch.equal(getattr(second, name), tensor)


@calibrated
def test_data_change_the_directions(case: str) -> None:
    """Otherwise calibration would be accepted and ignored."""
    model = Stack()
    name, own = CASES[case]
    config = config_for(name, r=4, **own)
    once = attach(copy.deepcopy(model), config, calibration=batches()).layers["first"]
    flipped = [batch.flip(-1) for batch in batches()]
    again = attach(copy.deepcopy(model), config, calibration=flipped).layers["first"]
    assert (once.S - again.S).abs().max() > 1e-3


@every
def test_save_and_load_need_no_data_and_give_equal_bits(case: str, tmp_path: Path) -> None:
    """Otherwise loading would choose other directions, or form another residual, than attaching did."""
    model, x = Stack(), batches()[0]
    fresh = copy.deepcopy(model)
    move(put_on(model, case))
    save(model, tmp_path / "adapter.safetensors")
    load(fresh, tmp_path / "adapter.safetensors")
    assert torch.equal(fresh(x), model(x))
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)


@every
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
def test_detach_gives_every_bit_back(case: str, base: torch.dtype) -> None:
    """Otherwise the residual, or a weight put together again with rounding, would stay in the model."""
    model = Stack().to(base)
    before = copy.deepcopy(model.state_dict())
    move(put_on(model, case))
    assert not torch.equal(model.first.weight, before["first.weight"])
    detach(model)
    assert set(model.state_dict()) == set(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@every
@pytest.mark.parametrize("adapter_dtype", ["bfloat16", "float32"])
def test_half_precision(case: str, adapter_dtype: str) -> None:
    """Otherwise rounding the factors would cost as much as rounding the weight, or the output's dtype would change."""
    model = Stack().bfloat16()
    W = model.first.weight.detach().clone()
    adapter: Any = put_on(model, case, dtype=adapter_dtype, coeff=0.0).layers["first"]
    U, S, V = (t.float() for t in (adapter.U, adapter.S, getattr(adapter, adapter.right)))
    lost = (model.first.weight.float() + U @ torch.diag(S) @ V - W.float()).abs()
    assert (lost <= 2**-8 * model.first.weight.float().abs() + 1e-7).all()  # one rounding, of W_res
    assert model(batches(torch.bfloat16)[0]).dtype == torch.bfloat16


class Lookalike(nn.Module):
    """Linear-like, and nobody knows what it does with its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features = 12, 10
        self.weight = nn.Parameter(torch.randn(10, 12))

    def forward(self, x: Tensor) -> Tensor:
        """Twice the weight."""
        return 2 * x @ self.weight.T


@every
@pytest.mark.parametrize(("layer", "r", "said"), [(Lookalike(), 4, "Lookalike"), (nn.Linear(12, 10), 12, "r=12")])
def test_impossible_layers_are_refused(case: str, layer: nn.Module, r: int, said: str) -> None:
    """Otherwise the layer would compute something else with the residual, or have less directions than asked for."""
    with pytest.raises(AdapterError, match=said):
        put_on(nn.Sequential(layer), case, r=r)


def test_data_that_nothing_looks_at_are_refused() -> None:
    """Otherwise a user would believe that the directions were chosen from the data."""
    with pytest.raises(AdapterError, match="does not use calibration data"):
        attach(Stack(), config_for("antipasto_ablate", r=4), calibration=batches())


@pytest.mark.parametrize("case", ["gain", "suppress", "rot_V", "arrow"])
def test_too_few_rows_are_refused(case: str) -> None:
    """Otherwise r directions would be chosen from less than r rows."""
    name, own = CASES[case]
    with pytest.raises(AdapterError, match="3 calibration rows"):
        attach(Stack(), config_for(name, r=4, **own), calibration=[batches()[0][:3]])
