"""AntiPaSTO on CorDA's basis in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from refs.calibration import batches, pooled
from refs.live import build_peft
from refs.methods import antipasto
from refs.reference import Array, Author, ClosedForm, Live, Method, Transcribed
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from refs.transcribed import build_transcribed
from refs.transcriptions import antipasto_corda as authors

PAPER = antipasto.PAPER
AUTHOR = Author(
    "https://github.com/wassname/lora-lite",
    "src/lora_lite/variants/antipasto_corda.py",
    "5f9d90d8b83c09eeb86ba11b7aa9f03c9bbf6d71",
    "778e231eabcd5f31d617b9426365223560c873a14c6c39c67a121601931372b9",
)


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return W + t["U"] @ np.diag(t["S"] * antipasto.gain(t["g"], settings)) @ t["P"], b


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    config = authors.Config(
        settings.r,
        settings.option("coeff", 1.0),
        settings.option("suppress_only", False),
        settings.option("cov_eps", 1e-3),
    )
    return build_transcribed(
        layer,
        authors.TRANSCRIPTION,
        config,
        settings,
        trainable=("g",),
        oriented=True,
        stored=True,
    )


def _build_peft(layer: nn.Linear, settings: Settings) -> Subject:
    """peft's own CorDA on the same inputs; its A has the rows that P is held against."""
    from peft import LoraConfig
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.r,
        init_lora_weights="corda",
        corda_config=CordaConfig(corda_method="ipm"),
        target_modules=["layer"],
    )
    rows = batches(settings.option("calibration", "rows"), layer.in_features, layer.weight.dtype)
    host = Host(layer)
    preprocess_corda(host, config, run_model=lambda: [host(batch.x) for batch in rows])
    return build_peft(layer, config, {"P": ("lora_A.default.weight", AS_IS)}, settings)


def _start(W: Array, settings: Settings) -> dict[str, Array]:
    """W C^(1/2) = U diag(S) V by eigenvalues of the raw second moment of the inputs, raised by eps; P = V C^(-1/2)."""
    rows = pooled(settings.option("calibration", "rows"), W.shape[1], torch.float32).double().numpy()
    values, E = np.linalg.eigh(rows.T @ rows / len(rows))
    root = np.sqrt(np.maximum(values, 0) + settings.option("cov_eps", 1e-3))
    U, S, V = np.linalg.svd((W @ E) * root @ E.T, full_matrices=False)
    r = settings.r
    P = (V[:r] @ E) / root @ E.T
    return {"U": U[:, :r], "S": S[:r], "P": P, "g": np.zeros(r), "W_res": W - (U[:, :r] * S[:r]) @ P}


METHOD = Method(
    name="antipasto_corda",
    paper=PAPER,
    author=AUTHOR,
    references=(
        Transcribed(
            "authors:antipasto_corda",
            _build,
            "transcriptions/antipasto_corda.py",
            ("antipasto_corda",),
            "W_eff = W_res + U diag(S (1 + ELU(coeff g))) P,  W C^(1/2) = U diag(S) V, P = V C^(-1/2)",
            options=(("calibration", "rows"),),
        ),
        Live(
            "peft:corda",
            _build_peft,
            (
                "peft/tuners/lora/corda.py::collect_eigens_for_layer",
                "peft/tuners/lora/corda.py::calib_cov_distribution",
                "peft/tuners/lora/layer.py::LoraLayer.corda_init",
            ),
            "W C = U diag(S) V,  A = diag(sqrt(S)) V C^-1,  C the mean of x x^T with each batch divided by its maximum",
            options=(("calibration", "rows"),),
            checks=("references", "data_init"),
        ),
        ClosedForm(
            "closed:antipasto_corda",
            _effective,
            "W' = W_res + U diag(S E(coeff g)) P, b' = b",
            options=(("calibration", "rows"),),
            start=_start,
            pullback=antipasto._pullback,
        ),
    ),
    replaces_weight=True,
    sign_free=antipasto.sign_free,
)
