"""What each variant of this repository must refuse: option sets, ``r`` among them, for a layer 12 -> 20.

Accepted in silence, each of these would train something else than was asked for.
"""

from __future__ import annotations

from typing import Any

from conformance.entry import Options


def _sets(*options: dict[str, Any]) -> tuple[Options, ...]:
    return tuple(tuple(sorted(each.items())) for each in options)


_LOW_RANK = ({"r": 0}, {"dropout": 1.5}, {"rslora": "no"})
_STARTS = (*_LOW_RANK, {"init": "zeros"})
_SVD = ({"r": 0}, {"r": 13}, {"coeff": float("nan")})

REFUSED: dict[str, tuple[Options, ...]] = {
    "lora": _sets(*_STARTS),
    "pissa": _sets(*_LOW_RANK, {"r": 13}, {"niter": -1}),
    "delora": _sets({"r": 0}, {"dropout": 1.5}, {"lam": 0.0}, {"frozen_copies": "yes"}),
    "ia3": _sets({"feedforward": True}),
    "ia3_ff": _sets({"feedforward": False}),
    "dora": _sets(*_STARTS),
    "hra": _sets({"r": 0}, {"gram_schmidt": "yes"}, {"gram_schmidt": True, "r": 13}),
    "eva": _sets(
        {"calibration": None},
        {"calibration": "gap", "r": 13},
        {"calibration": "gap", "rho": 0.5},
        {"calibration": "gap", "whiten": "yes"},
    ),
    "road": _sets({"group_size": 4, "kind": "road_3"}, {"group_size": 3}, {"group_size": 8}),
    "antipasto": _sets(
        *_SVD, {"act_pool": "mean_abs"}, {"act_pool": "median", "calibration": "rows"}, {"suppress_only": "no"}
    ),
    "antipasto_rot": _sets(
        *_SVD, {"block_size": 3}, {"block_size": 2, "rotate_basis": "W"}, {"block_size": 2, "max_rotation_angle": 0.0}
    ),
    "antipasto_ablate": _sets(*_SVD, {"cov_orient": True}, {"init_alpha": 2.0}, {"k": 5}),
    "antipasto_corda": _sets({"calibration": None}, {"calibration": "rows", "cov_eps": 0.0}),
    "antipasto_arrow": _sets(*_SVD, {"block": 4}, {"act_pool": "mean_abs", "block": 1}),
}
