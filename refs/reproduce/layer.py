"""Recompute what a golden vector of a layer recorded, and measure the distance.

The recorded tensors are exact inputs, whatever their dtype: everything is recomputed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.reproduce.distance import SVD_LOSS, Distance, as_recorded, distance, limit, same_indices, size
from refs.transcriptions import antipasto3_selection, antipasto_rot, ia3, svd_family
from refs.transcriptions.hra import orth_reg
from refs.transcriptions.transcription import Transcription

STATED = {
    "W_res": ("W_res_vs_float64", "W_res_vs_formula_max_abs", "W_res_vs_bf16_of_exact_residual_max_abs"),
    "S": ("S_vs_float64",),
    "terms": ("rank1_terms_vs_float64_max_abs", "rank1_terms_vs_svd_max_abs"),
    "product": (
        "USVh_vs_numpy_svd_max_abs",
        "USVt_vs_numpy_svd_max_abs",
        "sBA_vs_numpy_subspace_iteration_from_recorded_test_matrix_max_abs",
        "sBA_vs_best_rank_r_max_abs",
    ),
    "scores": ("scores_vs_float64",),
}
"""Where the manifest's ``init_checks`` say how far a quantity of the start was from float64; the first one there."""
DRAWN = "svd_lowrank_test_matrix"


def layer(vector: Vector, transcription: Transcription) -> Iterator[Distance]:
    """The layer in its recorded state: y, the weight, every gradient, and what is recorded on the way."""
    terms = (vector.tensors["y"].double() * vector.tensors["g"].double()).abs().max().item()
    for name, got in recompute(vector, transcription).items():
        if name == "Q":  # the signs of its columns are not determined
            got = got * torch.sign((got * vector.tensors[name].double()).sum(dim=0))
        yield as_recorded(vector, name, got, terms=terms if name.startswith("grad.") else 0.0)


def recompute(vector: Vector, transcription: Transcription) -> dict[str, Tensor]:
    """The recorded outputs of a vector, by their recorded names."""
    recorded = vector.tensors
    leaves = {
        name: recorded[name].double().requires_grad_(f"grad.{name}" in recorded)
        for name in ("x", *(name for name, _ in transcription.names.values()))
        if name in recorded
    }
    tensors = {ours: view.read(leaves[name]) for ours, (name, view) in transcription.names.items() if name in leaves}
    name, view = transcription.base
    W = view.read(recorded[name].double())
    bias = recorded["bias"].double() if "bias" in recorded else None
    config = transcription.read_config(vector)

    weight, shift = transcription.effective(tensors, W, bias, config)
    y = leaves["x"] @ weight.T + (0 if shift is None else shift)
    states = {"y": y, "y_merged": y, "W_eff": weight, "bias_eff": shift}
    got = {name: value for name, value in states.items() if name in recorded and value is not None}
    if transcription.parts is not None:
        got |= {name: part for name, part in transcription.parts(tensors, W, config).items() if name in recorded}

    trained = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    loss = (y * recorded["g"].double()).sum()
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True, materialize_grads=True)
    return got | {f"grad.{name}": gradient for name, gradient in zip(trained, gradients)}


def start(vector: Vector, transcription: Transcription) -> Iterator[Distance]:
    """What the start determines: the frozen tensors, and the trained ones where the vector records them untouched."""
    if transcription.initial is None:
        return
    recorded, config = vector.tensors, transcription.read_config(vector)
    inputs = recorded["calib_X"].double() if "calib_X" in recorded else None
    drawn = {"test_matrix": recorded[DRAWN].double()} if DRAWN in recorded else {}
    got = transcription.initial(recorded["W"].double(), config, inputs, recorded.get("calib_mask"), **drawn)

    names = {"W_res": transcription.base, **transcription.names}
    fixed = [n for n in got if untrained(vector) or f"grad.{names[n][0]}" not in recorded]
    wanted = comparable({n: names[n][1].read(recorded[names[n][0]].double()) for n in fixed}, config)
    for quantity, (value, parts) in comparable({n: got[n] for n in fixed}, config).items():
        tensors = tuple(names[n][0] for n in parts)
        want, _ = wanted[quantity]
        dtype = torch.bfloat16 if "svd_W_res" in tensors else getattr(torch, vector.dtype)
        scale = size(recorded["W"]) if quantity == "W_res" else size(want)  # a residual can vanish: W sets its scale
        bound = limit(scale, dtype, of_start(vector, quantity), SVD_LOSS[dtype])
        yield distance(quantity, tensors, value, want, bound)


def comparable(tensors: Mapping[str, Tensor], config: Any) -> dict[str, tuple[Tensor, tuple[str, ...]]]:
    """The tensors, and in the place of singular vectors what does not depend on their signs; each with its sources."""
    left, right = next((pair for pair in (("U", "Vh"), ("U", "P"), ("B", "A")) if set(pair) <= set(tensors)), ("", ""))
    found: dict[str, tuple[Tensor, tuple[str, ...]]] = {
        name: (tensor, (name,)) for name, tensor in tensors.items() if name not in (left, right)
    }
    if left:
        A, B = tensors[right], tensors[left]
        S = tensors.get("S", A.new_full((A.shape[0],), getattr(config, "s", 1.0)))
        found["terms"] = torch.einsum("or,r,ri->roi", B, S, A), (left, right)
        found["product"] = (B * S) @ A, (left, right)
        found["lengths"] = A.norm(dim=1), (right,)
    return found


def of_start(vector: Vector, quantity: str) -> float | None:
    """The distance from float64 that the manifest states for a quantity of the start."""
    checks = vector.verification.get("init_checks", {})
    for key in STATED.get(quantity, ()):
        if key in checks:
            return float(checks[key]["max_abs"] if isinstance(checks[key], dict) else checks[key])
    return None


def untrained(vector: Vector) -> bool:
    """Whether the recorded state is the authors' start."""
    return bool(vector.config.get("state", vector.file.split("/")[-1].split("_")[0]) == "init")


def selection(vector: Vector) -> Iterator[Distance]:
    """The scores by which calibration inputs chose the singular directions, and the choice."""
    if "scores" not in vector.tensors:
        return
    recorded = vector.tensors
    pool = vector.config.get("act_pool", antipasto_rot.POOL)
    scores = svd_family.scores(recorded["W"].double(), recorded["calib_X"].double(), pool)
    dtype = getattr(torch, vector.dtype)
    bound = limit(size(scores), dtype, of_start(vector, "scores"), SVD_LOSS[dtype])
    yield distance("scores", ("scores",), scores, recorded["scores"], bound)
    yield same_indices("selected", svd_family.highest(scores, vector.config["r"]), recorded["selected"])


def dimensions(
    vector: Vector,
    select: Callable[[Tensor, Tensor, int], list[int]] = antipasto3_selection.score_l1_trip,
    interleave: Callable[[Tensor, list[int]], list[int]] = antipasto3_selection.polarity_interleave,
) -> Iterator[Distance]:
    """AntiPaSTO3's choice of dimensions and, for an even number, their order."""
    recorded = vector.tensors
    activations = recorded["acts_projected"].double()
    chosen = select(recorded["S"].double(), activations, vector.config["r"])
    yield same_indices("selected", chosen, recorded["selected"])
    if "interleaved" in recorded:
        yield same_indices(
            "interleaved", interleave(activations, recorded["selected"].tolist()), recorded["interleaved"]
        )


def regulariser(vector: Vector, penalty: Callable[[Tensor], Tensor] = orth_reg) -> Iterator[Distance]:
    """HRA's orthogonality penalty and its gradient for every recorded U."""
    for i in range(len(vector.config["shapes"])):
        U = vector.tensors[f"U{i}"].double().requires_grad_()
        value = penalty(U.T)
        (gradient,) = torch.autograd.grad(value, U)
        yield as_recorded(vector, f"orth_loss{i}", value.reshape(1))
        yield as_recorded(vector, f"grad.U{i}", gradient, terms=1.0)


def feed_forward(vector: Vector) -> Iterator[Distance]:
    """IA3's gated block, with the gate on the output of wi_1 and, which is the same, on the input of wo."""
    terms = size(vector.tensors["y"].double() * vector.tensors["g"].double())
    for on_input in (False, True):
        for name, got in ia3.gated_feed_forward(vector, on_input=on_input).items():
            yield as_recorded(vector, name, got, terms=terms)
