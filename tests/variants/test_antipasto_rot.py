"""AntiPaSTO rot: shifted singular values and bounded rotations of the basis."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector, init_facts, vectors
from tests.variants.recorded import UNRESOLVED, assert_reproduced, assert_same_start, id_of, recorded
from variants import AdapterError, AntiPaSTORotConfig, attach
from variants.antipasto_rot import AntiPaSTORot

VECTORS = recorded("antipasto_rot")
FLAX = [v for v in vectors("antipasto3") if "rotate_U" in v.config]
ANGLES = {
    "V": {"lora_rot_T": "angles_v"},
    "U": {"lora_rot_T": "angles_u"},
    "both": {"lora_rot_T": "angles_v", "lora_rot_T_u": "angles_u"},
    "none": {},
}


def adapter_with(angles: float | Tensor, **options: Any) -> AntiPaSTORot:
    """On a layer 12 -> 10 in float64 with r = 8, every angle parameter as given."""
    config = AntiPaSTORotConfig(**{"r": 8, "dtype": "float64", **options})
    adapter = attach(nn.Sequential(nn.Linear(12, 10).double()), config).layers["0"]
    assert isinstance(adapter, AntiPaSTORot)
    with torch.no_grad():
        for name in config.rotated:
            getattr(adapter, name).copy_(torch.as_tensor(angles))
    return adapter


def turned_by(R: Tensor) -> Tensor:
    """The rotation angles of each block, in radians."""
    return torch.linalg.eigvals(R.detach()).angle().abs()


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_vectors(vector: Vector) -> None:
    """Otherwise the layer would compute, or learn, something else than the authors' torch layer does."""
    factors = {"lora_U": "U", "lora_S": "S", "lora_Vh": "Vh", "lora_delta_s": "delta"}
    assert_reproduced(vector, {**factors, **ANGLES[vector.config["rotate_basis"]]})


@pytest.mark.parametrize("vector", VECTORS, ids=id_of)
def test_golden_starts(vector: Vector) -> None:
    """Otherwise other directions would be rotated than the authors' code rotates."""
    assert_same_start(vector)


@pytest.mark.parametrize("vector", FLAX, ids=id_of)
def test_the_flax_original_is_the_same_with_negated_angles(vector: Vector) -> None:
    """Otherwise coeff would not do what the original's alpha does: scale delta and turn by R(alpha)."""
    t, c = vector.tensors, vector.config
    basis = {(1, 0): "V", (0, 1): "U", (1, 1): "both", (0, 0): "none"}[c["rotate_U"], c["rotate_V"]]
    (d_in, r), d_out = t["svd_U"].shape, t["svd_Vh"].shape[1]
    model = nn.Sequential(nn.Linear(d_in, d_out, bias=False).double())
    options = {"block_size": c["block_size"], "max_rotation_angle": c["max_angle"], "dtype": "float64"}
    adapter = attach(model, AntiPaSTORotConfig(r=r, coeff=c["alpha"], rotate_basis=basis, **options)).layers["0"]
    used = 1.0 if c["use_delta_s"] else 0.0
    loaded = {"U": t["svd_Vh"].T, "S": t["svd_S"], "Vh": t["svd_U"].T, "delta": used * t["delta_s"]}
    turning = dict.fromkeys(adapter.config.rotated, -t["rotation_params"])
    with torch.no_grad():
        for name, value in {**loaded, **turning}.items():
            getattr(adapter, name).copy_(value)
        model[0].weight.copy_(t["svd_W_res"].T)
    x = t["x"].double().requires_grad_()
    y = model(x)
    (y * t["g"]).sum().backward()
    turns = [getattr(adapter, name).grad for name in turning]
    got = {"y": y, "grad.x": x.grad, "grad.delta_s": used * adapter.delta.grad}
    got["grad.rotation_params"] = -sum(turns, torch.zeros_like(t["rotation_params"], dtype=torch.float64))
    for name in set(got) & set(t):
        theirs, scale = vector.verification[name]["max_abs"], t[name].abs().max().item()
        assert (got[name] - t[name]).abs().max().item() <= 1.01 * theirs + UNRESOLVED * scale, name


@pytest.mark.parametrize("basis", ["V", "U", "both", "none"])
def test_each_rotated_side_has_angles_of_its_own(basis: str) -> None:
    """Otherwise one side would follow the other, or a tensor would be saved that nothing uses."""
    adapter = adapter_with(0.3, rotate_basis=basis)
    assert set(dict(adapter.named_parameters())) == {"delta", *ANGLES[basis].values()}


@pytest.mark.parametrize("size", [2, 4, 8])
def test_rotations_are_orthogonal_and_invert_with_the_sign_of_coeff(size: int) -> None:
    """Otherwise the basis would be stretched, or steering by -c would not undo steering by c."""
    adapter = adapter_with(torch.randn(8 // size, size * (size - 1) // 2), block_size=size)
    forward = {}
    for coeff in (0.7, -0.7, 0.0):
        adapter.coeff = coeff
        forward[coeff] = adapter.rotation("angles_v", torch.float64)
    identity = torch.eye(size, dtype=torch.float64).expand_as(forward[0.0])
    torch.testing.assert_close(forward[0.7] @ forward[0.7].mT, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(forward[0.7] @ forward[-0.7], identity, rtol=0, atol=1e-14)
    assert torch.equal(forward[0.0], identity)
    assert (torch.linalg.det(forward[0.7]) > 0).all()


def test_blocks_of_two_stay_within_the_largest_angle() -> None:
    """Otherwise max_rotation_angle would not bound the rotation it is named after."""
    angles = turned_by(adapter_with(1e3, block_size=2).rotation("angles_v", torch.float64))
    torch.testing.assert_close(angles, torch.full_like(angles, 0.5))


def test_blocks_of_four_can_turn_further_than_the_largest_angle() -> None:
    """Otherwise the clamp would not be the authors' elementwise one."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)))
    reached = max(
        turned_by(adapter_with(1e3 * row.expand(2, 6)).rotation("angles_v", torch.float64)).max() for row in signs
    )
    assert 1.09 < reached < 1.11


def test_the_upper_triangle_is_filled_row_by_row_and_turns_the_authors_way() -> None:
    """Otherwise saved angles would mean other rotations than the authors' do."""
    R = adapter_with(0.3, block_size=2, max_rotation_angle=1.0).rotation("angles_v", torch.float64)[0]
    want = init_facts("antipasto_family")["rot_chirality"]["R_2x2_for_p_0_3"]
    torch.testing.assert_close(R, torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-7)
    for index, (i, j) in enumerate(itertools.combinations(range(4), 2)):
        R = adapter_with(torch.eye(6)[index]).rotation("angles_v", torch.float64)[0]
        assert R[i, j] > 0.3 > -0.3 > R[j, i]


def test_delta_starts_at_4e_4_with_that_spread() -> None:
    """Otherwise a sign symmetry between directions would stay, or the start would be far from the model."""
    delta = torch.cat([adapter_with(0.0).delta.detach() for _ in range(300)])
    assert abs(delta.mean() - 4e-4) < 4 * 4e-4 / len(delta) ** 0.5
    assert abs(delta.std() - 4e-4) < 4 * 4e-4 / (2 * len(delta)) ** 0.5


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rotate_basis": "X"}, "rotate_basis"),
        ({"r": 6}, "r"),
        ({"block_size": 1}, "block_size"),
        ({"max_rotation_angle": 0.0}, "max_rotation_angle"),
        ({"max_rotation_angle": 3.2}, "max_rotation_angle"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], field: str) -> None:
    """Otherwise an unknown option would silently do nothing."""
    with pytest.raises(AdapterError, match=f"AntiPaSTORotConfig.{field}:"):
        AntiPaSTORotConfig(**{"r": 8, **options})
