"""AntiPaSTO with rotated bases in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from refs.adjoints import steering
from refs.methods import antipasto
from refs.methods.antipasto_originals import ANTIPASTO3, ANTIPASTO_TORCH
from refs.reference import Array, Author, ClosedForm, Method, Transcribed
from refs.settings import Settings
from refs.subject import Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto_rot as authors

PAPER = antipasto.PAPER
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto_rot.py",
    "5f9d90d8b83c09eeb86ba11b7aa9f03c9bbf6d71",
    "1701a6e6d4850087d5b4f68eb61a954d6d9ef0318b8064d550e071d305af5ca5",
)


def rotation(p: Array, settings: Settings) -> Array:
    """blockdiag((I - coeff A / 2)^-1 (I + coeff A / 2)), A the clamped skew matrix of each row of p."""
    count, size = len(p), settings.option("block_size", 4)
    limit = 2 * np.tan(settings.option("max_rotation_angle", 0.5) / 2)
    sign = 1 if settings.option("convention", "lora_lite") == "lora_lite" else -1
    R = np.zeros((count * size, count * size))
    for n, row in enumerate(p):
        A = np.zeros((size, size))
        A[np.triu_indices(size, 1)] = sign * limit * np.tanh(row / (2 * limit))
        half = settings.option("coeff", 1.0) * (A - A.T) / 2
        part = slice(n * size, (n + 1) * size)
        R[part, part] = _turn(half, settings.option("rotation", "cayley"))
    return R


def _turn(half: Array, kind: str) -> Array:
    """(I - X)^-1 (I + X), or exp(2 X) through the eigenvalues i v of the skew X."""
    if kind == "cayley":
        return np.asarray(np.linalg.solve(np.eye(len(half)) - half, np.eye(len(half)) + half))
    values, vectors = np.linalg.eigh(-1j * half)
    return np.asarray(((vectors * np.exp(2j * values)) @ vectors.conj().T).real)


def left(settings: Settings) -> str:
    """The name of the angles that turn U; empty for none."""
    basis = settings.option("rotate_basis", "V")
    return {"U": "angles_u", "both": "angles_u", "shared": "angles_v"}.get(basis, "")


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    S = np.diag(t["S"] + settings.option("coeff", 1.0) * t["delta"] if "delta" in t else t["S"])
    U = t["U"] @ rotation(t[left(settings)], settings).T if left(settings) else t["U"]
    Vh = rotation(t["angles_v"], settings) @ t["Vh"] if "angles_v" in t else t["Vh"]
    return W + U @ S @ Vh, b


def _pullback(t: Mapping[str, Array], W: Array, b: Array, settings: Settings, G: Array, h: Array) -> dict[str, Array]:
    """K = R_u^T D R_v:  dD = R_u dK R_v^T,  dR_v = D R_u dK,  dR_u = D R_v dK^T."""
    coeff, dK = settings.option("coeff", 1.0), steering.core(t["U"], t["Vh"], G)
    one = np.eye(len(dK))
    Ru = rotation(t[left(settings)], settings) if left(settings) else one
    Rv = rotation(t["angles_v"], settings) if "angles_v" in t else one
    D = np.diag(t["S"] + coeff * t["delta"] if "delta" in t else t["S"])
    grads = {"delta": coeff * np.diag(Ru @ dK @ Rv.T)} if "delta" in t else {}
    turned = [("angles_v", D @ Ru @ dK)] if "angles_v" in t else []
    turned += [(left(settings), D @ Rv @ dK.T)] if left(settings) else []
    for name, dR in turned:
        grads[name] = grads.get(name, 0.0) + _of_angles(t[name], settings, dR)
    return grads


def _of_angles(p: Array, settings: Settings, dR: Array) -> Array:
    limit = 2 * np.tan(settings.option("max_rotation_angle", 0.5) / 2)
    sign = 1 if settings.option("convention", "lora_lite") == "lora_lite" else -1
    size, kind = settings.option("block_size", 4), settings.option("rotation", "cayley")
    return sign * steering.rotation(sign * p, size, limit, settings.option("coeff", 1.0), kind, dR)


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("block_size", 4),
        settings.option("rotate_basis", "V"),
        settings.option("max_rotation_angle", 0.5),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("delta", "theta", "theta_u"),
        drawn={"delta": 4e-4 + 4e-4 * torch.randn(settings.r)},
        names={
            "theta": "angles_u" if settings.option("rotate_basis", "V") == "U" else "angles_v",
            "theta_u": "angles_u",
        },
    )


def _is_of_lora_lite(settings: Settings) -> bool:
    """Its layer has no coefficient, no shared angles and one convention."""
    own = {"coeff": 1.0, "rotation": "cayley", "use_delta_s": True, "convention": "lora_lite"}
    own |= {"selection": "strongest"}
    plain = all(settings.option(name, value) == value for name, value in own.items())
    return plain and settings.option("rotate_basis", "V") != "shared"


METHOD = Method(
    name="antipasto_rot",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto_rot",
            _build,
            "transcriptions/antipasto_rot.py",
            ("antipasto_rot",),
            "W_eff = W_res + U R_u^T diag(S + delta) R_v Vh,  R = blockdiag((I - A/2)^-1 (I + A/2))",
            options=(("block_size", 2),),
            covers=_is_of_lora_lite,
        ),
        ANTIPASTO3,
        ANTIPASTO_TORCH,
        ClosedForm(
            "closed:antipasto_rot",
            _effective,
            "W' = W_res + U R_u^T diag(S + coeff delta) R_v Vh, b' = b;  R(-p) in the originals' conventions",
            options=(("block_size", 2),),
            pullback=_pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=antipasto.sign_free,
)
