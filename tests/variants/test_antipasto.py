"""AntiPaSTO: a bounded gain on the singular values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from refs.golden_vectors import Vector
from tests.variants.recorded import assert_reproduced, assert_same_start, calibration, id_of, recorded
from variants import AdapterError, AntiPaSTOConfig, attach
from variants.runtime.calibrate import Moments
from variants.svd_family import MeanAbs, gain, pooled, strongest, svd

NAMES = {"lora_U": "U", "lora_S": "S", "lora_Vh": "Vh", "lora_g": "g"}
VECTORS = recorded("antipasto")
SELECTING = ("antipasto", "antipasto_rot", "antipasto_arrow")
SELECTED = [v for each in SELECTING for v in recorded(each) if v.config["calibration"]]


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_vectors(vector: Vector) -> None:
    """Otherwise the layer would compute, or learn, something else than the authors' layer does."""
    assert_reproduced(vector, NAMES)


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_starts(vector: Vector) -> None:
    """Otherwise other directions would be steered than the authors' code steers."""
    assert_same_start(vector)


@pytest.mark.parametrize("vector", SELECTED, ids=id_of)
def test_the_recorded_directions_are_chosen(vector: Vector) -> None:
    """Otherwise the scores would be pooled differently, centred, or cut down to the largest singular values first."""
    W = vector.tensors["W"].float()
    layer = nn.Linear(*reversed(W.shape))
    layer.weight.data = W
    rms = vector.config.get("act_pool", "mean_abs") == "rms"
    statistic = Moments(W.shape[1]) if rms else MeanAbs(layer)
    for rows in calibration(vector, torch.float32) or ():
        statistic.add(rows)
    _, S, Vh = svd(W)
    scores = S * pooled(statistic, Vh)
    # A float32 SVD mixes close directions; the bfloat16 scores are of the rounded factors.
    rounding = 2e-5 if vector.dtype == "float32" else 1e-2
    torch.testing.assert_close(scores, vector.tensors["scores"].double(), rtol=0, atol=rounding * scores.max())
    assert strongest(scores, vector.config["r"]).tolist() == vector.tensors["selected"].tolist()


def test_of_equal_scores_the_first_is_chosen() -> None:
    """Otherwise the choice would depend on how a sort breaks ties."""
    assert strongest(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0, 3.0]), 4).tolist() == [1, 2, 3, 5]


def test_gain_is_positive_with_slope_one_at_zero_from_both_sides() -> None:
    """Otherwise a direction could be flipped, or the first gradient would not be what ELU's is."""
    for at in (-1e-12, 0.0, 1e-12):
        g = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        gain(g, 1.0, False).sum().backward()
        assert g.grad is not None
        torch.testing.assert_close(g.grad, torch.ones_like(g))
    values = gain(torch.linspace(-15, 5, 101), 1.0, False)
    assert (values > 0).all()
    assert (values.diff() > 0).all()


def test_suppress_only_cuts_before_the_product_with_coeff() -> None:
    """Otherwise coeff = -1 could not undo a suppression, or a gate that starts at 0 would never learn to close."""
    g = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    values = gain(g, -1.0, True)
    assert values.tolist() == [1.5, 1.0, 1.0]
    values.sum().backward()
    assert g.grad is not None
    assert g.grad.tolist() == [-1.0, -1.0, 0.0]


def test_pooling_without_data_is_refused() -> None:
    """Otherwise asking for mean_abs and forgetting the batches would silently choose by singular value alone."""
    with pytest.raises(AdapterError, match="no calibration batches"):
        attach(nn.Sequential(nn.Linear(6, 5)), AntiPaSTOConfig(r=2, act_pool="mean_abs"))


@pytest.mark.parametrize("options", [{"act_pool": "max"}, {"suppress_only": 1}, {"r": 0}, {"coeff": float("nan")}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    """Otherwise an unknown option would silently do nothing."""
    with pytest.raises(AdapterError, match="AntiPaSTOConfig"):
        AntiPaSTOConfig(**options)  # type: ignore[arg-type]
