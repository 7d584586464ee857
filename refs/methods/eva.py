"""EVA in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refs.calibration import batches, nudge, pooled
from refs.live import build_peft
from refs.methods import lora
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper
from refs.settings import Settings
from refs.subject import Host, Subject

NAMES = lora.NAMES

OBJECTS = (
    "peft/tuners/lora/eva.py::_get_eva_state_dict",
    "peft/tuners/lora/eva.py::SVDHook",
    "peft/tuners/lora/eva.py::_load_eva_state_dict",
    "peft/utils/incremental_pca.py::IncrementalPCA",
    *lora.OBJECTS,
)


def _config(settings: Settings, **eva: Any) -> Any:
    from peft import EvaConfig

    config = lora.lora_config(settings)
    config.init_lora_weights, config.eva_config = "eva", EvaConfig(**eva)
    return config


def _build(layer: nn.Linear, settings: Settings) -> Subject:
    """A from the calibration inputs by peft's own EVA, B zero."""
    subject = build_peft(layer, _config(settings), NAMES, settings)
    kind = settings.option("calibration", "gap")
    subject.load({"A": _components(kind, layer.in_features, settings.r, settings.option("whiten", False), nudge())})
    return subject


@cache
def _components(kind: str, d_in: int, r: int, whiten: bool, by: float) -> Tensor:
    """``by`` is the nudge of the inputs, a part of the cache's key."""
    rows = [batch.kept for batch in batches(kind, d_in, torch.float32)]
    rho = min(2.0, d_in / r)
    return eva_components(rows, d_in, r, whiten, rho=rho)


def _start(W: Array, settings: Settings) -> dict[str, Array]:
    """The r leading right singular vectors of the centred rows, in float64; B is zero."""
    kind = settings.option("calibration", "gap")
    rows = pooled(kind, W.shape[1], torch.float32).double().numpy()
    _, S, V = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    A = V[: settings.r]
    if settings.option("whiten", False):
        A = A / np.sqrt(S[: settings.r])[:, None]
    return {"A": A, "B": np.zeros((len(W), settings.r))}


def sign_free(values: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Each direction with its length, without its sign, and B."""
    A = values["A"].double()
    return {"a_i a_i^T": torch.einsum("ij,ik->ijk", A, A).float(), "B": values["B"].float()}


def eva_components(
    rows: Sequence[Tensor], d_in: int, r: int, whiten: bool = False, *, rho: float = 2.0, tau: float = 0.99
) -> Tensor:
    """A: (r, d_in) as peft's own EVA makes it from batches of rows ``(..., d_in)``, on one layer.

    peft needs r rho <= d_in, and in each batch more than r rho rows; it runs over the batches, in rounds, until each
    direction has a cosine of at least ``tau`` with its own previous estimate.
    """
    from peft.tuners.lora.eva import get_eva_state_dict

    host = Host(nn.Linear(d_in, 1, bias=False))
    found: dict[str, Tensor] = get_eva_state_dict(
        host,
        rows,
        _config(Settings(r=r), rho=rho, tau=tau, whiten=whiten),
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    return found["layer"].to(torch.float32)


def _ranks(model: nn.Module, rows: Sequence[Tensor], settings: Settings) -> dict[str, tuple[int, float]]:
    """Rank and scale of each linear layer after peft's own redistribution."""
    from peft import get_peft_model, initialize_lora_eva_weights

    adjust = settings.option("adjust_scaling", True)
    config = _config(settings, rho=settings.option("rho", 2.0), adjust_scaling_factors=adjust)
    config.target_modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    wrapped: Any = get_peft_model(model, config)
    initialize_lora_eva_weights(
        wrapped,
        rows,
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    layers = {name: getattr(wrapped.base_model.model, name) for name in config.target_modules}
    return {name: (m.r["default"], m.scaling["default"]) for name, m in layers.items() if hasattr(m, "r")}


ONE_LAYER = (("calibration", "gap"), ("rho", 1.0))
"""Ranks move between layers with a larger rho; the probes speak of one layer."""


METHOD = Method(
    name="eva",
    paper=Paper("2410.07170", "Parameter Efficient Fine-tuning via Explained Variance Adaptation"),
    author=Author("https://github.com/ml-jku/EVA"),
    references=(
        Live(
            "peft:eva",
            _build,
            OBJECTS,
            "y' = base(x) + lora_B(lora_A(dropout(x))) * (lora_alpha / r)\n"
            "lora_A = leading directions of a mean-centred incremental PCA of the inputs, lora_B = 0",
            options=ONE_LAYER,
            ranks=_ranks,
        ),
        ClosedForm(
            "closed:eva",
            lora._effective,
            "W' = W + s B A, b' = b; A spans the leading directions of the centred rows",
            options=ONE_LAYER,
            start=_start,
        ),
    ),
    sign_free=sign_free,
)
