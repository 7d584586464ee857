"""AntiPaSTO ablate: learned directions are removed from the output, in part or whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector
from tests.variants.recorded import assert_reproduced, assert_same_start, id_of, recorded
from variants import AdapterError, AntiPaSTOAblateConfig, attach
from variants.antipasto_ablate import AntiPaSTOAblate

NAMES = {"lora_U": "U", "lora_S": "S", "lora_Vh": "Vh", "lora_c": "c", "lora_alpha": "alpha"}
VECTORS = recorded("antipasto_ablate")


def adapter_on(d_in: int, d_out: int, **options: Any) -> tuple[nn.Linear, AntiPaSTOAblate]:
    """The variant on a float64 layer with a weight like a trained one's, and that weight's size."""
    layer = nn.Linear(d_in, d_out, bias=False).double()
    nn.init.normal_(layer.weight, std=d_in**-0.5)
    adapter = attach(nn.Sequential(layer), AntiPaSTOAblateConfig(**{"dtype": "float64", **options})).layers["0"]
    assert isinstance(adapter, AntiPaSTOAblate)
    return layer, adapter


def core_of(adapter: AntiPaSTOAblate) -> Tensor:
    """The r x r matrix that works on diag(S) Vh x."""
    S = adapter.S
    return adapter.core(torch.eye(len(S), dtype=S.dtype) / S).T.detach()


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_vectors(vector: Vector) -> None:
    """Otherwise the layer would compute, or learn, something else than the authors' layer does."""
    assert_reproduced(vector, NAMES)


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_starts(vector: Vector) -> None:
    """Otherwise directions would be removed from another basis than in the authors' code."""
    assert_same_start(vector)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_it_removes_and_never_flips_or_amplifies(k: int) -> None:
    """Otherwise an ablation could push a direction the other way, or make it stronger."""
    _, adapter = adapter_on(12, 10, r=6, k=k)
    for alpha in (-3.0, 0.0, 0.4, 1.0, 3.0):
        for coeff in (0.0, 0.5, 1.0):
            adapter.alpha.data.fill_(alpha)
            adapter.coeff = coeff
            K = core_of(adapter)
            torch.testing.assert_close(K, K.T, rtol=0, atol=1e-13)
            eigenvalues = torch.linalg.eigvalsh(K)
            assert eigenvalues.min() >= -1e-5  # |c| + 1e-6 leaves a little
            assert eigenvalues.max() <= 1 + 1e-12
            assert int((eigenvalues < 1 - 1e-4).sum()) == (k if min(max(alpha, 0), 1) * coeff > 0 else 0)


def test_columns_are_orthonormal_and_span_those_of_c() -> None:
    """Otherwise overlapping directions would be removed twice."""
    _, adapter = adapter_on(12, 10, r=6, k=3)
    Q = adapter.directions(torch.float64)
    torch.testing.assert_close(Q.T @ Q, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(Q @ (Q.T @ adapter.c), adapter.c, rtol=0, atol=1e-14)


def test_start_is_one_and_a_half_percent_away() -> None:
    """Otherwise the start would be another than the authors', 1.6 % of the weight at r = 8 (1.2 % to 2.1 %)."""
    moved = []
    for _ in range(40):
        layer, adapter = adapter_on(32, 24, r=8)
        W, W_res = adapter.original, layer.weight
        assert W is not None
        W_eff = W_res + adapter.U @ core_of(adapter) @ torch.diag(adapter.S) @ adapter.Vh
        moved.append(((W_eff - W).norm() / W.norm()).item())
    assert 0.014 < sum(moved) / len(moved) < 0.018
    assert 0.01 < min(moved) < max(moved) < 0.025


@pytest.mark.parametrize(("init_alpha", "alive"), [(0.05, True), (0.0, False)])
def test_directions_learn_only_if_alpha_starts_above_zero(init_alpha: float, alive: bool) -> None:
    """Otherwise the reason for a start away from the identity would not hold."""
    layer, adapter = adapter_on(12, 10, r=6, init_alpha=init_alpha)
    y = layer(torch.randn(5, 12).double())
    (y * torch.randn_like(y)).sum().backward()
    assert adapter.alpha.grad is not None
    assert adapter.c.grad is not None
    assert adapter.alpha.grad.abs().min() > 1e-3
    assert (adapter.c.grad.abs().max() > 1e-3) == alive


def test_c_starts_normal_over_root_r() -> None:
    """Otherwise the size of c, which scales its gradient, would be another than the authors'."""
    _, adapter = adapter_on(300, 280, r=256, k=64)
    c = adapter.c.detach()
    assert abs(c.mean()) < 4 / 16 / c.numel() ** 0.5
    assert abs(c.std() * 16 - 1) < 4 / (2 * c.numel()) ** 0.5
    assert (adapter.alpha == 0.05).all()


@pytest.mark.parametrize(("cov_orient", "batches"), [(True, None), (False, [torch.randn(9, 6)])])
def test_calibration_is_there_exactly_when_it_is_used(cov_orient: bool, batches: list[Tensor] | None) -> None:
    """Otherwise an orientation without data, or data without orientation, would silently do nothing."""
    config = AntiPaSTOAblateConfig(r=2, cov_orient=cov_orient)
    with pytest.raises(AdapterError, match="calibration"):
        attach(nn.Sequential(nn.Linear(6, 5)), config, calibration=batches)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 5}, {"init_alpha": 1.5}, {"cov_orient": "yes"}, {"cov_eps": 0.0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """Otherwise an option would silently do nothing, or nothing could be learnt."""
    with pytest.raises(AdapterError, match=f"AntiPaSTOAblateConfig.{next(iter(options))}:"):
        AntiPaSTOAblateConfig(**{"r": 4, **options})
