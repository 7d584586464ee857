"""AntiPaSTO's originals as references of antipasto_rot: the Flax layer antipasto3, and the authors' first torch layer.

Both turn the other way round: where antipasto_rot keeps its own convention, their angles are the negatives of its,
which ``NEGATED`` says. Which way an angle turns which basis, as each side stores it, is a question of its own (check
``chirality``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from refs.calibration import whole
from refs.reference import Transcribed
from refs.settings import Settings
from refs.subject import AS_IS, NEGATED, Subject, View
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto3, antipasto_torch
from refs.transcriptions.orthogonal import block_diagonal, skew_blocks
from refs.transcriptions.svd_family import product

BLOCKS_OF_2 = (("block_size", 2),)
"""Of which every rank in the probes is a multiple."""


def _option(settings: Settings, name: str) -> Any:
    defaults = {"block_size": 4, "rotate_basis": "V", "max_rotation_angle": 0.5, "coeff": 1.0, "use_delta_s": True}
    return settings.option(name, defaults[name])


def _angles(settings: Settings) -> tuple[int, int]:
    size = _option(settings, "block_size")
    return settings.r // size, size * (size - 1) // 2


def _sense(settings: Settings, own: str) -> View:
    """How the angles read in the convention that is asked for."""
    return AS_IS if settings.option("convention", "lora_lite") == own else NEGATED


def _speaks_of(settings: Settings, own: str) -> bool:
    """In the other original's convention the variant is no claim about this one."""
    return settings.option("convention", "lora_lite") in ("lora_lite", own)


def _within_two_sigma(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), a=-2.0, b=2.0)


def _build_antipasto3(layer: nn.Linear, settings: Settings) -> Subject:
    """Their layer has no bias, so that of ``layer`` is added as it is."""
    basis = _option(settings, "rotate_basis")
    selection, indices = settings.option("selection", "strongest"), None
    if selection != "strongest":
        rows, _ = whole(settings.option("calibration", "rows"), layer.in_features, torch.float64)
        W = layer.weight.detach().float()
        indices = antipasto3.chosen(W, rows, settings.r, selection == "polarity_interleave")
    config = antipasto3.Config(
        settings.r,
        _option(settings, "block_size"),
        _option(settings, "coeff"),
        {"shared": "both"}.get(basis, basis),
        _option(settings, "max_rotation_angle"),
        _option(settings, "use_delta_s"),
        indices,
    )

    def with_bias(t: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, c: Any) -> tuple[Tensor, Tensor | None]:
        return antipasto3.effective(t, W, None, c)[0], bias

    def unrounded(W: Tensor, c: Any, *rest: Any) -> dict[str, Tensor]:
        start = antipasto3.initial(W, c, *rest)
        return {**start, "W_res": W - product(start["U"], start["S"], start["Vh"])}

    shift = {"delta": 4e-4 + 4e-4 * _within_two_sigma(settings.r)} if config.shift else {}
    return build_transcribed(
        layer,
        replace(antipasto3.TRANSCRIPTION, effective=with_bias, initial=unrounded),
        config,
        settings,
        trainable=("delta", "theta"),
        drawn={**shift, "theta": 1e-4 * _within_two_sigma(*_angles(settings))},
        names={"theta": "angles_u" if basis == "U" else "angles_v"},
        views={"theta": _sense(settings, "antipasto3")},
    )


def _is_antipasto3(settings: Settings) -> bool:
    by_size = settings.option("selection", "strongest") == "strongest" and "calibration" in dict(settings.options)
    chosen = settings.option("rotation", "cayley") != "cayley" or by_size
    turned = _option(settings, "rotate_basis") in ("V", "U", "shared")
    return turned and not chosen and _speaks_of(settings, "antipasto3")


def _build_antipasto_torch(layer: nn.Linear, settings: Settings) -> Subject:
    """Each theta of theirs, (r, r), is blockdiag of the skew u / 4, so that A_ij = u_ij / 2 for i < j before the clamp.

    With ``block_size`` r that is their whole layer, with smaller blocks its restriction to them. Their layer keeps W;
    here W_res stays in it, and W is what W_res and the factors add up to. The bias, which theirs loses unless alpha is
    0 (the golden vectors show it), is added, so that everything else can be compared.
    """
    basis, size = _option(settings, "rotate_basis"), _option(settings, "block_size")
    used = {"V": ("theta_v",), "U": ("theta_u",), "both": ("theta_v", "theta_u"), "none": ()}[basis]
    config = antipasto_torch.Config(
        settings.r,
        _option(settings, "coeff"),
        "theta_u" in used,
        "theta_v" in used,
        settings.option("rotation", "cayley"),
        _option(settings, "max_rotation_angle"),
    )

    def in_blocks(t: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, c: Any) -> tuple[Tensor, Tensor | None]:
        full = {name: block_diagonal(*skew_blocks(t[name] / 4, size)) for name in used}
        original = W + product(t["U"], t["S"], t["Vh"])
        return antipasto_torch.effective({**t, **full, "W_res": W}, original, bias, c)[0], bias

    drawn = {"delta": 4e-4 + 4e-4 * torch.randn(settings.r)}
    # u is the upper triangle of 4 (Z - Z^T), Z of standard deviation 0.003.
    drawn |= {name: 4 * 0.003 * 2**0.5 * torch.randn(*_angles(settings)) for name in used}
    return build_transcribed(
        layer,
        replace(antipasto_torch.TRANSCRIPTION, effective=in_blocks),
        config,
        settings,
        trainable=("delta", *used),
        drawn=drawn,
        names={"theta_v": "angles_v", "theta_u": "angles_u"},
        views=dict.fromkeys(used, _sense(settings, "antipasto_torch")),
    )


def _is_antipasto_torch(settings: Settings) -> bool:
    plain = settings.option("calibration", None) is None and _option(settings, "use_delta_s")
    return _option(settings, "rotate_basis") != "shared" and plain and _speaks_of(settings, "antipasto_torch")


ANTIPASTO3 = Transcribed(
    "authors:antipasto3",
    _build_antipasto3,
    "transcriptions/antipasto3.py",
    (*antipasto3.TRANSCRIPTION.variants, "antipasto3_dim_selection"),
    "W_eff = W_res + U' diag(S + alpha delta) Vh',  Vh' = R^T Vh and / or U' = U R,  R = R(alpha theta)\n"
    "in antipasto_rot's terms coeff = alpha and p = -theta; the bias, which their layer has not, is added as it is;\n"
    "W_res is compared as it is before they round it to bfloat16",
    options=BLOCKS_OF_2,
    covers=_is_antipasto3,
    residual="bfloat16",
)

ANTIPASTO_TORCH = Transcribed(
    "authors:antipasto_torch",
    _build_antipasto_torch,
    "transcriptions/antipasto_torch.py",
    antipasto_torch.TRANSCRIPTION.variants,
    "y = x (W_res + U R_u diag(S + alpha delta) R_v^T Vh)^T;  alpha = 0: y = x W^T + b\n"
    "theirs loses the bias unless alpha is 0, which is their fault: it is added here\n"
    "R = (I - alpha A/2)^-1 (I + alpha A/2) or exp(alpha A);  in antipasto_rot's terms coeff = alpha, A_ij = -p_ij / 2",
    options=BLOCKS_OF_2,
    covers=_is_antipasto_torch,
    checks=("references", "init", "gradients", "forward", "chirality", "trajectory"),
)
