"""EVA in peft and in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refs.calibration import batches, nudge, pooled
from refs.live import build_peft
from refs.methods import lora
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper, Transcribed
from refs.settings import Settings
from refs.subject import Host, Subject
from refs.transcribed import WEIGHTS_ONLY, build_transcribed
from refs.transcriptions import eva as authors
from refs.transcriptions import lora as authors_lora

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
    return {"A": _leading(rows, settings), "B": np.zeros((len(W), settings.r))}


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
    layers = _started(model, rows, settings, _linear(model))
    return {name: (m.r["default"], m.scaling["default"]) for name, m in layers.items() if hasattr(m, "r")}


def _starts(
    model: nn.Module, rows: Sequence[Tensor], settings: Settings, targets: tuple[str, ...]
) -> dict[str, Tensor]:
    """A of each of these layers, as peft's own ``initialize_lora_eva_weights`` leaves it."""
    layers = _started(model, rows, settings, targets)
    return {name: m.lora_A["default"].weight.detach().clone() for name, m in layers.items() if hasattr(m, "r")}


def _linear(model: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Linear))


def _started(model: nn.Module, rows: Sequence[Tensor], settings: Settings, targets: tuple[str, ...]) -> dict[str, Any]:
    from peft import get_peft_model, initialize_lora_eva_weights

    config = _config(
        settings,
        rho=settings.option("rho", 2.0),
        adjust_scaling_factors=settings.option("adjust_scaling", True),
        whiten=settings.option("whiten", False),
    )
    config.target_modules = list(targets)
    wrapped: Any = get_peft_model(model, config)
    initialize_lora_eva_weights(
        wrapped,
        rows,
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    return {name: getattr(wrapped.base_model.model, name) for name in targets}


def _build_authors(layer: nn.Linear, settings: Settings) -> Subject:
    """One layer: the authors' search over the calibration batches, decomposed exactly."""
    kind, r, d_in = settings.option("calibration", "gap"), settings.r, layer.in_features
    A = _found(kind, d_in, r, settings.option("whiten", False), nudge())
    config = authors_lora.Config(r, settings.alpha)
    return build_transcribed(
        layer, authors_lora.TRANSCRIPTION, config, _without_data(settings), trainable=("A", "B"), drawn={"A": A}
    )


def _without_data(settings: Settings) -> Settings:
    """What LoRA's layer is built by: its own start looks at no data."""
    return replace(settings, options=tuple(pair for pair in settings.options if pair[0] != "calibration"))


@cache
def _found(kind: str, d_in: int, r: int, whiten: bool, by: float) -> Tensor:
    """``by`` is the nudge of the inputs, a part of the cache's key."""
    rows = [{"layer": batch.kept} for batch in batches(kind, d_in, torch.float64)]
    return authors.search(rows, {}, r, min(2.0, d_in / r), whiten=whiten).A["layer"].float()


def _searched(
    model: nn.Module, rows: Sequence[Tensor], settings: Settings, targets: tuple[str, ...]
) -> authors.Settled:
    """The authors' search over the layers of a model: the first layer to see an input owns its decomposition."""
    seen: dict[str, list[Tensor]] = {name: [] for name in targets}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda m, x, name=name: seen[name].append(x[0]))
        for name in targets
    ]
    with torch.no_grad():
        for batch in rows:
            model(batch)
    for handle in handles:
        handle.remove()
    owners = {name: next(other for other in targets if seen[other][0] is inputs[0]) for name, inputs in seen.items()}
    own = [name for name in targets if owners[name] == name]
    found = [{name: seen[name][k].double() for name in own} for k in range(len(rows))]
    sharing = {name: owner for name, owner in owners.items() if name != owner}
    return authors.search(
        found, sharing, settings.r, settings.option("rho", 2.0), whiten=settings.option("whiten", False)
    )


def _ranks_of_authors(model: nn.Module, rows: Sequence[Tensor], settings: Settings) -> dict[str, tuple[int, float]]:
    ranks = _searched(model, rows, settings, _linear(model)).ranks
    return {name: (rank, authors.scale(settings.alpha, rank)) for name, rank in ranks.items() if rank}


def _starts_of_authors(
    model: nn.Module, rows: Sequence[Tensor], settings: Settings, targets: tuple[str, ...]
) -> dict[str, Tensor]:
    return {name: A.float() for name, A in _searched(model, rows, settings, targets).A.items()}


def _leading(rows: Array, settings: Settings) -> Array:
    """The r leading right singular vectors of the centred rows; whitened, over the roots of their singular values."""
    _, S, V = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    A: Array = V[: settings.r]
    return A / np.sqrt(S[: settings.r])[:, None] if settings.option("whiten", False) else A


def _starts_of_form(
    model: nn.Module, rows: Sequence[Tensor], settings: Settings, targets: tuple[str, ...]
) -> dict[str, Tensor]:
    """Of layers that all see the model's input, each as it would start alone."""
    A = torch.from_numpy(_leading(torch.cat(list(rows)).double().numpy(), settings).copy()).float()
    return dict.fromkeys(targets, A)


ONE_LAYER = (("calibration", "gap"), ("rho", 1.0))
"""Ranks move between layers with a larger rho; the probes speak of one layer."""


METHOD = Method(
    name="eva",
    paper=Paper("2410.07170", "Parameter Efficient Fine-tuning via Explained Variance Adaptation"),
    author=Author(
        "https://github.com/ml-jku/EVA",
        "src/svd.py",
        "a5ac24bc04da5e6f50ee9de4e7ad5ee5ff4f438d",
        "82b72c582d3216ac800dd18a22bc4424d0ef1b33429381ecc0ffd9628322bb39",
        "MIT",
    ),
    references=(
        Live(
            "peft:eva",
            _build,
            OBJECTS,
            "y' = base(x) + lora_B(lora_A(dropout(x))) * (lora_alpha / r)\n"
            "lora_A = leading directions of a mean-centred incremental PCA of the inputs, lora_B = 0",
            options=ONE_LAYER,
            ranks=_ranks,
            starts=_starts,
        ),
        Transcribed(
            "authors:eva",
            _build_authors,
            "transcriptions/eva.py",
            ("eva_svd_hook", "eva_compute_svd", "eva_redistribution", "eva_adapter"),
            "y = x W^T + b + (alpha / rank of the layer) (x A^T) B^T\n"
            "A = the leading directions of a centred incremental decomposition over the batches, B = 0",
            options=ONE_LAYER,
            covers=lambda settings: not settings.option("rslora", False) and not settings.option("dropout", 0.0),
            checks=(*WEIGHTS_ONLY, "ranks", "shared_inputs"),
            ranks=_ranks_of_authors,
            starts=_starts_of_authors,
        ),
        ClosedForm(
            "closed:eva",
            lora._effective,
            "W' = W + s B A, b' = b; A spans the leading directions of the centred rows",
            options=ONE_LAYER,
            start=_start,
            starts=_starts_of_form,
            pullback=lora._pullback,
        ),
    ),
    sign_free=sign_free,
)
