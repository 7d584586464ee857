"""AntiPaSTO arrow: the top directions are mixed, the others scaled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from refs.golden_vectors import Vector
from tests.variants.recorded import assert_reproduced, assert_same_start, id_of, recorded
from variants import AdapterError, AntiPaSTOArrowConfig, attach

NAMES = {"lora_U": "U", "lora_S": "S", "lora_Vh": "Vh", "lora_M": "M", "lora_g": "g"}
VECTORS = recorded("antipasto_arrow")


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_vectors(vector: Vector) -> None:
    """Otherwise the layer would compute, or learn, something else than the authors' layer does."""
    assert_reproduced(vector, NAMES)


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_starts(vector: Vector) -> None:
    """Otherwise other directions would be mixed than the authors' code mixes."""
    assert_same_start(vector)


def test_parameter_count() -> None:
    """Otherwise the block would not be b x b with a gain for each of the r - b others: 14 at r = 8, b = 3."""
    attachment = attach(nn.Sequential(nn.Linear(12, 10)), AntiPaSTOArrowConfig(r=8, block=3))
    assert sum(p.numel() for p in attachment.parameters()) == 14


@pytest.mark.parametrize("coeff", [1.0, -0.5])
def test_one_entry_of_the_block_moves_one_direction_to_one_output(coeff: float) -> None:
    """Otherwise M[i, j] would not carry input j, scaled by S_j, to output i with exactly that weight."""
    layer = nn.Linear(12, 10, bias=False).double()
    attachment = attach(nn.Sequential(layer), AntiPaSTOArrowConfig(r=8, block=3, coeff=coeff, dtype="float64"))
    adapter: Any = attachment.layers["0"]
    for i in range(3):
        for j in range(3):
            with torch.no_grad():
                adapter.M.zero_()[i, j] = 0.7
                moved = (layer(torch.eye(12).double()).T - adapter.original).detach()
            weights = adapter.U.T @ moved @ adapter.Vh.T
            want = torch.zeros(8, 8, dtype=torch.float64)
            want[i, j] = coeff * 0.7 * adapter.S[j]
            torch.testing.assert_close(weights, want, rtol=0, atol=1e-6)  # the factors are float32's


def test_suppress_only_leaves_the_block_free() -> None:
    """Otherwise the block could not mix with both signs."""
    layer = nn.Linear(12, 10, bias=False).double()
    config = AntiPaSTOArrowConfig(r=8, block=3, suppress_only=True, dtype="float64")
    adapter: Any = attach(nn.Sequential(layer), config).layers["0"]
    with torch.no_grad():
        adapter.M.fill_(0.5)
        adapter.g.fill_(0.5)
    K = (adapter.core(torch.eye(8).double() / adapter.S)).T
    want = torch.eye(8, dtype=torch.float64)
    want[:3, :3] += 0.5
    torch.testing.assert_close(K, want)


@pytest.mark.parametrize("options", [{"block": 0}, {"block": 8}, {"block": True}, {"act_pool": "l2"}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """Otherwise the gain would be left without a direction, or an option would silently do nothing."""
    with pytest.raises(AdapterError, match=f"AntiPaSTOArrowConfig.{next(iter(options))}:"):
        AntiPaSTOArrowConfig(**{"r": 8, "block": 3, **options})
