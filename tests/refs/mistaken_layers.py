"""Layers with one mistake each in what they compute."""

from __future__ import annotations

import math
from typing import Any

import torch
from mistake import (
    Mistake,
    Tensors,
    moved,
    other_config,
    other_formula,
    other_tensors,
    vectors_of,
    with_bias,
    with_tensor,
)
from torch import Tensor
from torch.nn.functional import elu

from refs.reproduce.layer import regulariser
from refs.transcriptions import antipasto_ablate, antipasto_arrow, delora
from refs.transcriptions.svd_family import product

INPUT_SIDE = ("hra_nlu", "hra_control", "hra_subject")
HRA = (*INPUT_SIDE, "hra_llama", "hra_llama_gs")
GAINS = ("antipasto", "antipasto_corda")
ON = (-1.0, 0.5, 1.0)


def projection(t: Tensors, W: Tensor, c: Any) -> Tensor:
    Q, _ = torch.linalg.qr(t["U"].T)
    R = torch.eye(len(Q)) - Q @ Q.T
    return W @ R if c.side == "input" else R @ W


def squared_penalty(U: Tensor) -> Tensor:
    V = U / U.norm(dim=1, keepdim=True)
    return (torch.eye(len(U)) - V @ V.T).square().sum()


def without_copies(t: Tensors, W: Tensor, c: Any) -> Tensor:
    return W + t["lam"] / c.r * delora.normalised(t["B"], t["A"]) * W.norm(dim=0)


def one_norm(t: Tensors, W: Tensor, c: Any) -> Tensor:
    difference = delora.normalised(t["B"], t["A"]) - delora.normalised(t["D"], t["C"])
    return W + t["lam"] / c.r * difference * W.norm() / math.sqrt(W.shape[1])


def gained(t: Tensors, W: Tensor, gain: Tensor) -> Tensor:
    return W + product(t["U"], t["S"] * gain, t["P"] if "P" in t else t["Vh"])


def ablated(t: Tensors, W: Tensor, c: Any, Q: Tensor, alpha: Tensor) -> Tensor:
    return W + t["U"] @ (torch.eye(len(Q)) - c.coeff * (Q * alpha) @ Q.T) @ (t["S"][:, None] * t["Vh"])


def on_the_input(t: Tensors, W: Tensor, c: Any) -> Tensor:
    Q = antipasto_ablate.directions(t["c"])
    removed = torch.eye(len(Q)) - c.coeff * (Q * t["alpha"].clamp(0, 1)) @ Q.T
    return W + (t["U"] * t["S"]) @ removed @ t["Vh"]


def singular_values_left(t: Tensors, W: Tensor, c: Any) -> Tensor:
    return W + (t["U"] * t["S"]) @ antipasto_arrow.core(t["M"], t["g"], c) @ t["Vh"]


LAYERS: tuple[Mistake, ...] = (
    Mistake(
        "hra_reversed_order", moved(vectors_of(*HRA, apply_GS=False)), other_tensors(lambda t: {"U": t["U"].flip(0)})
    ),
    Mistake("hra_without_eps", vectors_of("hra_llama"), other_config(eps=0.0)),
    Mistake("hra_eps_on_the_input_side", moved(vectors_of(*INPUT_SIDE, apply_GS=False)), other_config(eps=1e-4)),
    Mistake("hra_gram_schmidt_left_out", moved(vectors_of(*HRA, apply_GS=True)), other_config(gram_schmidt=False)),
    Mistake("hra_gram_schmidt_always", moved(vectors_of(*HRA, apply_GS=False)), other_config(gram_schmidt=True)),
    Mistake("hra_projection_instead_of_reflection", moved(vectors_of(*HRA)), other_formula(projection)),
    Mistake("hra_regulariser_squared", vectors_of("hra_orth_reg"), lambda v: regulariser(v, squared_penalty)),
    Mistake("delora_not_divided_by_r", vectors_of("delora", r=(4, 8, 16)), other_config(r=1)),
    Mistake("delora_without_frozen_copies", vectors_of("delora"), other_formula(without_copies)),
    Mistake("delora_one_norm_for_all_columns", vectors_of("delora"), other_formula(one_norm)),
    Mistake(
        "pissa_update_not_scaled",
        vectors_of("pissa", scaling=(0.25, 2.0, 3.0)),
        other_formula(lambda t, W, c: W + t["B"] @ t["A"]),
    ),
    Mistake("pissa_rslora_ignored", vectors_of("pissa", use_rslora=True), other_config(rslora=False)),
    Mistake(
        "antipasto3_chirality_flipped",
        lambda v: vectors_of("antipasto3", alpha=ON)(v) and (v.config["rotate_U"] or v.config["rotate_V"]),
        other_tensors(lambda t: {"theta": -t["theta"]}),
    ),
    Mistake(
        "antipasto3_angle_not_halved",
        lambda v: vectors_of("antipasto3", alpha=ON)(v) and (v.config["rotate_U"] or v.config["rotate_V"]),
        other_tensors(lambda t: {"theta": 2 * t["theta"]}),
    ),
    Mistake(
        "antipasto3_bases_exchanged",
        lambda v: vectors_of("antipasto3", alpha=ON)(v) and v.config["rotate_U"] != v.config["rotate_V"],
        other_config(basis={"U": "V", "V": "U"}.get),
    ),
    Mistake(
        "antipasto3_clamp_left_out",
        moved(vectors_of("antipasto3", alpha=ON, rotate_U=True)),
        other_config(max_angle=3.1415),
    ),
    Mistake(
        "antipasto3_delta_without_alpha",
        vectors_of("antipasto3", alpha=(-1.0, 0.5), use_delta_s=True),
        lambda v: other_tensors(lambda t: {"delta": t["delta"] / v.config["alpha"]})(v),
    ),
    Mistake("antipasto3_delta_always", vectors_of("antipasto3", use_delta_s=False), other_config(shift=True)),
    Mistake(
        "antipasto_torch_chirality_flipped",
        lambda v: vectors_of("antipasto_torch", alpha=ON)(v) and (v.config["rotate_u"] or v.config["rotate_v"]),
        other_tensors(lambda t: {n: t[n].T for n in ("theta_u", "theta_v") if n in t}),
    ),
    Mistake(
        "antipasto_torch_skew_halved",
        lambda v: vectors_of("antipasto_torch", alpha=ON)(v) and (v.config["rotate_u"] or v.config["rotate_v"]),
        other_tensors(lambda t: {n: t[n] / 2 for n in ("theta_u", "theta_v") if n in t}),
    ),
    Mistake("antipasto_torch_bias_kept", vectors_of("antipasto_torch", alpha=ON, bias=True), with_bias),
    Mistake(
        "antipasto_torch_always_cayley",
        vectors_of("antipasto_torch", rotation_method="matrix_exp"),
        other_config(method="cayley"),
    ),
    Mistake(
        "antipasto_torch_always_clamped",
        vectors_of("antipasto_torch", max_rotation_angle=1e9),
        other_config(max_angle=math.pi / 3),
    ),
    Mistake(
        "gain_exponential",
        moved(vectors_of(*GAINS, coeff=(0.5, 1.0), suppress_only=False)),
        other_formula(lambda t, W, c: gained(t, W, (c.coeff * t["g"]).exp())),
    ),
    Mistake(
        "gain_linear",
        moved(vectors_of(*GAINS, coeff=(-1.0, 0.5, 1.0), suppress_only=False)),
        other_formula(lambda t, W, c: gained(t, W, 1 + c.coeff * t["g"])),
    ),
    Mistake(
        "gain_clamped_after_the_product",
        vectors_of(*GAINS, coeff=-1.0, suppress_only=True),
        other_formula(lambda t, W, c: gained(t, W, 1 + elu((c.coeff * t["g"]).clamp(max=0)))),
    ),
    Mistake(
        "suppress_only_ignored",
        moved(vectors_of(*GAINS, "antipasto_arrow", coeff=(-1.0, 1.0), suppress_only=True)),
        other_config(suppress_only=False),
    ),
    Mistake(
        "coeff_ignored",
        vectors_of(*GAINS, "antipasto_arrow", "antipasto_ablate", coeff=(-1.0, 0.0, 0.5)),
        other_config(coeff=1.0),
    ),
    Mistake(
        "rot_chirality_flipped",
        with_tensor("lora_rot_T", vectors_of("antipasto_rot")),
        other_tensors(lambda t: {n: -t[n] for n in ("theta", "theta_u") if n in t}),
    ),
    Mistake(
        "rot_one_rotation_for_both",
        vectors_of("antipasto_rot", rotate_basis="both"),
        other_tensors(lambda t: {"theta_u": t["theta"]}),
    ),
    Mistake(
        "rot_other_basis",
        vectors_of("antipasto_rot", rotate_basis=("U", "V")),
        other_config(basis={"U": "V", "V": "U"}.get),
    ),
    Mistake(
        "ablate_alpha_not_clamped",
        lambda v: v.file.count("alphaout") == 1,
        other_formula(lambda t, W, c: ablated(t, W, c, antipasto_ablate.directions(t["c"]), t["alpha"])),
    ),
    Mistake(
        "ablate_norm_without_eps",
        lambda v: v.file.count("smallc") == 1,
        other_formula(lambda t, W, c: ablated(t, W, c, t["c"] / t["c"].norm(), t["alpha"])),
    ),
    Mistake("ablate_on_the_input", vectors_of("antipasto_ablate", coeff=ON), other_formula(on_the_input)),
    Mistake(
        "ablate_gram_schmidt_right_to_left",
        vectors_of("antipasto_ablate", coeff=ON, k=2),
        other_tensors(lambda t: {"c": t["c"].flip(1), "alpha": t["alpha"].flip(0)}),
    ),
    Mistake(
        "arrow_block_transposed",
        vectors_of("antipasto_arrow", block=(2, 3), coeff=ON),
        other_tensors(lambda t: {"M": t["M"].T}),
    ),
    Mistake(
        "arrow_singular_values_left_of_the_block",
        vectors_of("antipasto_arrow", block=(2, 3), coeff=ON),
        other_formula(singular_values_left),
    ),
)
