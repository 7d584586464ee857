"""AntiPaSTO on CorDA's basis: the gain acts on directions that the inputs orient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector
from tests.variants.recorded import assert_reproduced, assert_same_start, id_of, recorded
from variants import AdapterError, AntiPaSTOCorDAConfig, attach
from variants.antipasto_corda import AntiPaSTOCorDA

NAMES = {"lora_U": "U", "lora_S": "S", "lora_P": "P", "lora_g": "g"}
VECTORS = recorded("antipasto_corda")


class Masked(nn.Module):
    """One layer in a model that is given an attention mask, as language models are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 5).double()

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Padding goes through the layer like any token."""
        y: Tensor = self.layer(x)
        return y


def attached(model: nn.Module, batches: list[Any], **options: Any) -> AntiPaSTOCorDA:
    """The adapter of the only layer."""
    config = AntiPaSTOCorDAConfig(**{"r": 3, "dtype": "float64", **options})
    (adapter,) = attach(model, config, calibration=batches).layers.values()
    assert isinstance(adapter, AntiPaSTOCorDA)
    return adapter


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_vectors(vector: Vector) -> None:
    """Otherwise the layer would compute, or learn, something else than the authors' layer does."""
    assert_reproduced(vector, NAMES)


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_starts(vector: Vector) -> None:
    """Otherwise the basis would be oriented otherwise: centred, plain, by a sum, or by another epsilon."""
    assert_same_start(vector, right="P")


def test_the_basis_solves_the_weighted_problem() -> None:
    """Otherwise the r directions would not be those that lose the least output over the calibration inputs."""
    rows = torch.randn(40, 6).double() @ torch.randn(6, 6).double() + 1
    model = nn.Sequential(nn.Linear(6, 5).double())
    W = model[0].weight.detach().clone()
    adapter = attached(model, [rows], cov_eps=1e-9)
    lost = (rows @ model[0].weight.T).norm()
    best = torch.linalg.svdvals(rows @ W.T)[3:].norm()
    torch.testing.assert_close(lost, best, rtol=1e-6, atol=0)
    C = rows.T @ rows / len(rows)
    torch.testing.assert_close(adapter.P @ C @ adapter.P.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)


def test_padding_does_not_count() -> None:
    """Otherwise the basis would be oriented by whatever the padding holds."""
    x = torch.randn(4, 7, 6).double()
    mask = (torch.arange(7) < torch.tensor([[7], [4], [2], [5]])).long()
    start = Masked().state_dict()
    bases = []
    for batches in ([{"x": x, "attention_mask": mask}], [x[mask != 0]], [x]):
        model = Masked()
        model.load_state_dict(start)
        adapter = attached(model, batches)
        bases.append(adapter.U @ torch.diag(adapter.S) @ adapter.P)
    torch.testing.assert_close(bases[0], bases[1], rtol=0, atol=1e-12)
    assert (bases[0] - bases[2]).abs().max() > 1e-3


@pytest.mark.parametrize(("batches", "said"), [(None, "no calibration"), ([torch.randn(2, 6)], "2 calibration rows")])
def test_missing_calibration_is_refused(batches: list[Tensor] | None, said: str) -> None:
    """Otherwise the basis would be made up."""
    with pytest.raises(AdapterError, match=f"attach to 0: got {said}"):
        attach(nn.Sequential(nn.Linear(6, 5)), AntiPaSTOCorDAConfig(r=3), calibration=batches)


def test_fewer_rows_than_inputs_are_enough() -> None:
    """Otherwise the covariance would have to be invertible without cov_eps."""
    adapter = attached(nn.Sequential(nn.Linear(6, 5).double()), [torch.randn(4, 6).double()])
    assert torch.isfinite(adapter.P).all()


@pytest.mark.parametrize("options", [{"cov_eps": 0.0}, {"cov_eps": -1.0}, {"suppress_only": None}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """Otherwise a singular covariance would give infinite directions, or an option would silently do nothing."""
    with pytest.raises(AdapterError, match=f"AntiPaSTOCorDAConfig.{next(iter(options))}:"):
        AntiPaSTOCorDAConfig(**options)
