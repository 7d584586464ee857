"""The options of every method as axes: the default of each first, and what rules some combinations out.

An option is a word that every implementation of the method understands; what it changes is in the references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.space.axes import EXACT, Axis, Rule


@dataclass(frozen=True)
class Options:
    """The options of one method, and the combinations (with size and rank) that it must refuse or cannot have.

    ``fixed`` are set always. ``elsewhere`` names config fields that no axis varies, each with the check that asks for
    them or the reason why nobody does.
    """

    axes: tuple[Axis, ...] = ()
    rules: tuple[Rule, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = ()
    without: tuple[tuple[str, Any, str], ...] = ()
    """Values of the common axes that the method has not got: axis, value, why."""
    wrong: tuple[tuple[str, str, Any, str], ...] = ()
    """Values at which a reference is known to be wrong whatever the other axes say: reference, axis, value, why."""


def _axis(name: str, *values: Any, ends: tuple[float, float] | None = None) -> Axis:
    return Axis(name, values, f"option {name}", paths={}, ends=ends, option=True)


_RSLORA, _INIT = _axis("rslora", False, True), _axis("init", "kaiming", "gaussian")
_COEFF = _axis("coeff", 1.0, -0.5, 2.0, ends=(-3.0, 3.0))
_POOL = _axis("act_pool", "rms", "mean_abs")
_CALIBRATION = _axis("calibration", None, "rows")
_SUPPRESS = _axis("suppress_only", False, True)

_WITHIN_THE_SPECTRUM = Rule(
    ("size", "r"), lambda size, r: r > min(size), "there are no more directions than the weight has singular values"
)
_POOLS_DATA = Rule(
    ("act_pool", "calibration"),
    lambda pool, calibration: pool == "mean_abs" and calibration is None,
    "mean_abs pools calibration inputs, and raises an error without them",
)
_NO_ALPHA = tuple(("alpha", value, "the method has a coefficient instead of alpha / r") for value in (4.5, -3.0))

OPTIONS: dict[str, Options] = {
    "lora": Options((_RSLORA, _INIT)),
    "dora": Options(
        (_RSLORA, _INIT),
        wrong=(
            (
                "peft:dora",
                "batch",
                (),
                "peft's DoRA returns (1, d_out) for a single vector; `forward` shows that fault",
            ),
        ),
    ),
    "pissa": Options(
        (_RSLORA, _axis("niter", None, 4)),
        (_WITHIN_THE_SPECTRUM,),
        without=(("alpha", -3.0, "singular values are divided by alpha / r, so a negative alpha raises an error"),),
    ),
    "eva": Options(
        (
            _RSLORA,
            _axis("rho", 2.0, 1.0),
            _axis("adjust_scaling", True, False),
            _axis("whiten", False, True),
            _axis("calibration", "gap", "masked"),
        ),
        (
            Rule(("size", "r"), lambda size, r: r > size[0], "there are no more directions than inputs"),
            Rule(
                ("r", "rho", "calibration"),
                lambda r, rho, calibration: r * rho > (20 if calibration == "gap" else 16),
                "peft's EVA does not end if a batch has fewer rows than r rho",
            ),
            Rule(
                ("whiten", "calibration", "r"),
                lambda whiten, calibration, r: whiten and calibration == "gap" and r > 10,
                "the inputs `gap` hardly vary in more than 10 directions, and whitening divides by that variation",
            ),
        ),
        without=(("size", (260, 64), "decomposing 260 inputs takes longer than all other cases; 132 are tested"),),
    ),
    "delora": Options(
        (_axis("lam", 15.0, 4.0, ends=(0.1, 30.0)), _axis("frozen_copies", False, True)),
        without=tuple(("alpha", value, "the method has lam instead of alpha") for value in (4.5, -3.0)),
    ),
    "hra": Options(
        (_axis("gram_schmidt", False, True), _axis("side", "input", "output"), _axis("eps", 6e-5, 1e-3)),
        (
            Rule(
                ("gram_schmidt", "side", "r"),
                lambda single, side, r: not single and side == "input" and r % 2 == 1,
                "reflections on the input side are initialised as pairs that cancel, so an odd rank raises an error",
            ),
            Rule(
                ("gram_schmidt", "side", "r", "size"),
                lambda single, side, r, size: single and r >= size[side == "output"],
                "there are no more orthonormal vectors than dimensions; of all of them the mirror turns nothing",
            ),
            Rule(
                ("gram_schmidt", "side", "by"),
                lambda single, side, by: single and side == "input" and by == 0,
                "peft and the authors initialise pairs of equal vectors, for which Gram-Schmidt is 0 / 0",
            ),
        ),
        without=tuple(("alpha", value, "the method has no alpha") for value in (4.5, -3.0)),
    ),
    "road": Options(
        (_axis("kind", "road_1", "road_2", "road_4"), _axis("group_size", 64, 4, 2)),
        (Rule(("size", "group_size"), lambda size, group: size[1] % group != 0, "the groups must divide the outputs"),),
    ),
    "antipasto": Options(
        (_COEFF, _SUPPRESS, _POOL, _CALIBRATION), (_WITHIN_THE_SPECTRUM, _POOLS_DATA), without=_NO_ALPHA
    ),
    "antipasto_rot": Options(
        (
            _axis("rotate_basis", "V", "U", "both", "shared", "none"),
            _axis("block_size", 4, 2),
            _axis("max_rotation_angle", 0.5, 1.2, 3.1, ends=(0.05, 3.1)),
            _axis("rotation", "cayley", "matrix_exp"),
            _axis("use_delta_s", True, False),
            _axis("convention", "lora_lite", "antipasto3", "antipasto_torch"),
            _COEFF,
        ),
        (
            _WITHIN_THE_SPECTRUM,
            Rule(
                ("r", "block_size", "rotate_basis"),
                lambda r, block, basis: basis != "none" and r % block != 0,
                "the blocks must divide the rank",
            ),
            Rule(("r", "rotate_basis"), lambda r, basis: basis != "none" and r == 1, "no block fits into a rank of 1"),
            Rule(
                ("rotate_basis", "use_delta_s"),
                lambda basis, delta: basis == "none" and not delta,
                "nothing would train",
            ),
        ),
        elsewhere=(
            ("calibration", "chosen directions are tested by init"),
            ("selection", "chosen directions are tested by init"),
        ),
        without=_NO_ALPHA,
    ),
    "antipasto_ablate": Options(
        (
            _axis("k", 1, 2, 3),
            _axis("init_alpha", 0.05, 0.0, 1.0),
            _axis("cov_orient", False, True),
            _axis("cov_eps", 1e-3, 0.1),
            _COEFF,
        ),
        (
            _WITHIN_THE_SPECTRUM,
            Rule(("r", "k"), lambda r, k: k > r, "at most r directions can be removed"),
            Rule(
                ("r", "dtype"),
                lambda r, dtype: r == 1 and dtype != EXACT,
                "with one direction the output does not depend on c, and its gradient is rounding error",
            ),
            Rule(
                ("r", "calls"),
                lambda r, calls: r == 1 and calls == "double",
                "the gradient is rounding error, and so is its derivative",
            ),
        ),
        without=_NO_ALPHA,
    ),
    "antipasto_corda": Options(
        (_SUPPRESS, _axis("cov_eps", 1e-3, 0.1), _COEFF),
        (_WITHIN_THE_SPECTRUM,),
        fixed=(("calibration", "rows"),),
        without=_NO_ALPHA,
    ),
    "antipasto_arrow": Options(
        (_axis("block", 8, 3, 1), _SUPPRESS, _POOL, _CALIBRATION, _COEFF),
        (
            _WITHIN_THE_SPECTRUM,
            _POOLS_DATA,
            Rule(("block", "r"), lambda block, r: block >= r, "the block is smaller than the rank"),
        ),
        without=_NO_ALPHA,
    ),
}
"""By the method's name; a method that is not named has no option."""

EVERYWHERE = {
    "targets": "which layers are adapted is tested by tests/runtime/test_targets.py: a configuration has one layer",
    "dtype": "axis dtype",
    "r": "axis r",
    "alpha": "axis alpha",
    "dropout": "axis dropout",
}
"""Config fields that are no options here, and who asks for them."""
