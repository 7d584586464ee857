"""The AntiPaSTO family: which option sets are asked, what must be refused, which differences are declared."""

from __future__ import annotations

from conformance.nouns.verdict import Deviation
from subjects.own.entry import INSIDE, ON_CODES, row, sets

LORA_LITE = "https://github.com/wassname/lora-lite"

_STEERED = ({"coeff": -1.0}, {"coeff": -0.5, "suppress_only": True})
_SELECTED = (
    {"calibration": "mean"},
    {"calibration": "spikes"},
    {"calibration": "spikes", "act_pool": "mean_abs"},
    {"calibration": "faint"},
    {"calibration": "faint", "act_pool": "mean_abs"},
)
_MASKED = {"calibration": "masked"}
_REFUSED = ({"r": 0}, {"r": 13}, {"coeff": float("nan")})


def _residual_of_stored_factors(name: str) -> Deviation:
    return Deviation(
        cases=f"authors:{name}/params/t0-f32+bf16-*",
        what="with adapter tensors in bfloat16 on a float32 layer, W_res is W minus the product of the stored, rounded "
        "factors; the authors subtract the unrounded product, so the initial output is off by that rounding",
        why="W_res plus the product that the forward adds must be W",
        link=LORA_LITE,
        by_default=False,
        shows=("base weight",),
    )


_PADDING = tuple(
    Deviation(
        cases=f"authors:antipasto/{check}/*calibration=masked*",
        what="tokens that the attention mask excludes do not count when directions are chosen; in the authors' code "
        "they count, except in the variant with the oriented basis",
        why="padding tokens carry no information about the inputs",
        link=LORA_LITE,
        by_default=False,
        shows=("base weight", "S at t=0", "U diag(S) Vh at t=0", "W_res at t=0"),
    )
    for check in ("init", "params")
)

ANTIPASTO = row(
    "antipasto",
    invariants=("steering", INSIDE, *ON_CODES),
    options=sets(*_STEERED, *_SELECTED, _MASKED),
    refused=sets(
        *_REFUSED, {"act_pool": "mean_abs"}, {"act_pool": "median", "calibration": "rows"}, {"suppress_only": "no"}
    ),
    deviations=(_residual_of_stored_factors("antipasto"), *_PADDING),
)


def _of_the_originals(original: str, angles: str, delta: str) -> tuple[Deviation, ...]:
    """How antipasto_rot differs from an original by default; under ``convention`` it does not, so that is left out."""
    link = {"antipasto3": LORA_LITE, "antipasto_torch": "https://github.com/wassname/AntiPaSTO"}[original]
    starts = tuple(
        Deviation(
            cases=f"authors:{original}/init/{probes}",
            what=f"the initial angles are 0; {original} draws them, {angles}{delta}",
            why=f"lora-lite, the source of this method, does so; the option convention='{original}' draws them",
            link=link,
            by_default=True,
            shows=("angles_?: *", "angles_? at t=0", "delta: *"),
        )
        for probes in (
            "*-block_size=?",
            "*-block_size=?-[!c]*",
            "*-block_size=?-coeff=*",
        )
    )
    return (
        *starts,
        Deviation(
            cases=f"authors:{original}/chirality/*",
            what=f"an angle of +x rotates its basis in the opposite direction to {original}: angles differ in sign",
            why=f"lora-lite, the source of this method, does so; the option convention='{original}' does not",
            link=link,
            by_default=True,
            shows=("turn of +angles_?",),
        ),
    )


_ORIGINALS = (
    *_of_the_originals(
        "antipasto3",
        "with a standard deviation between 1e-5 and 1e-4",
        "; its delta has the same mean, and is cut at two standard deviations",
    ),
    Deviation(
        cases="authors:antipasto3/reconstruction/*",
        what="W_res has the layer's dtype; antipasto3 stores it in bfloat16, with a rounding error between 1e-4 and "
        "1e-2 of the weight",
        why="at t=0 and at coeff=0 the model must be the original one, in its own precision",
        link=LORA_LITE,
        by_default=True,
        shows=("dtype that W_res is kept in",),
    ),
    *_of_the_originals("antipasto_torch", "with a standard deviation between 1e-2 and 1e-1", ""),
)

ROT = row(
    "antipasto_rot",
    invariants=("steering", INSIDE, "rotation", *ON_CODES),
    options=sets(
        {"block_size": 4},
        {"rotate_basis": "U"},
        {"rotate_basis": "both"},
        {"rotate_basis": "none"},
        {"max_rotation_angle": 1.2},
        {"coeff": -1.0},
        {"calibration": "spikes"},
        {"rotate_basis": "shared"},
        {"use_delta_s": False},
        {"rotation": "matrix_exp"},
        {"block_size": 4, "rotation": "matrix_exp"},
        {"convention": "antipasto3"},
        {"convention": "antipasto3", "rotate_basis": "U"},
        {"convention": "antipasto_torch"},
        {"calibration": "spikes", "convention": "antipasto3", "selection": "score_l1_trip"},
        {"calibration": "spikes", "convention": "antipasto3", "selection": "polarity_interleave"},
    ),
    refused=sets(
        *_REFUSED,
        {"block_size": 3},
        {"block_size": 2, "rotation": "euler"},
        {"block_size": 2, "convention": "flax"},
        {"block_size": 2, "use_delta_s": "no"},
        {"block_size": 2, "selection": "score_l1_trip"},
        {"block_size": 2, "calibration": "rows", "selection": "trip"},
        {"block_size": 2, "rotate_basis": "W"},
        {"block_size": 2, "max_rotation_angle": 0.0},
    ),
    deviations=(
        _residual_of_stored_factors("antipasto_rot"),
        _residual_of_stored_factors("antipasto3"),
        *_ORIGINALS,
    ),
)

ABLATE = row(
    "antipasto_ablate",
    invariants=("steering", INSIDE, "contraction", *ON_CODES),
    options=sets(
        {"k": 2},
        {"coeff": 0.5, "k": 2},
        {"init_alpha": 1.0, "k": 2},
        {"calibration": "rows", "cov_eps": 0.1, "cov_orient": True, "k": 2},
        {"calibration": "outliers", "cov_orient": True, "k": 2},
    ),
    refused=sets(*_REFUSED, {"cov_orient": True}, {"init_alpha": 2.0}, {"k": 5}),
    deviations=(_residual_of_stored_factors("antipasto_ablate"),),
)

CORDA = row(
    "antipasto_corda",
    invariants=("steering", INSIDE, *ON_CODES),
    options=sets(*_STEERED, {"cov_eps": 0.1}, _MASKED, {"calibration": "outliers"}),
    refused=sets({"calibration": None}, {"calibration": "rows", "cov_eps": 0.0}),
    deviations=(
        Deviation(
            cases="peft:corda/data_init/*",
            what="the basis is computed from W C^(1/2) and C^(-1/2), C = E[x x^T] + eps I, as in the authors' code; "
            "peft's CorDA decomposes W C and multiplies by C^-1, which spans another subspace",
            why="the basis of the authors' AntiPaSTO weights a direction by how much it changes the output; peft "
            "follows the equations of the CorDA paper",
            link="https://arxiv.org/abs/2406.05223",
            by_default=True,
            shows=("span of P",),
        ),
    ),
)

ARROW = row(
    "antipasto_arrow",
    invariants=("steering", INSIDE, *ON_CODES),
    options=sets({"block": 3}, {"block": 2, "coeff": -0.5, "suppress_only": True}, *_SELECTED),
    refused=sets(*_REFUSED, {"block": 4}, {"act_pool": "mean_abs", "block": 1}),
    deviations=(_residual_of_stored_factors("antipasto_arrow"),),
)
