"""Starts and selections with one mistake each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from mistake import Mistake, Tensors, other_start, vectors_of, with_tensor
from torch import Tensor

from refs.reproduce.layer import dimensions
from refs.transcriptions import svd_family
from refs.transcriptions.antipasto3_selection import descending, polarity_interleave, score_l1_trip

SCALED = (0.25, 2.0, 3.0)
POOLS = {"rms": "mean_abs", "mean_abs": "rms"}
BY_DATA = ("antipasto", "antipasto_arrow", "antipasto_rot")


def pissa_without_s(right: Any, W: Tensor, c: Any, *rest: Any) -> Tensors:
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = S[: c.r].sqrt()
    A, B = root[:, None] * Vh[: c.r], U[:, : c.r] * root
    return {"A": A, "B": B, "W_res": W - c.s * B @ A}


def pissa_one_sided(right: Any, *args: Any) -> Tensors:
    got = dict(right(*args))
    length = got["A"].norm(dim=1)
    return {**got, "A": got["A"] * length[:, None], "B": got["B"] / length}


def oriented_by_C(right: Any, W: Tensor, c: Any, X: Tensor, mask: Tensor | None) -> Tensors:
    root, inverse_root = svd_family.covariance(X, c.eps, mask)
    U, S, Vt = torch.linalg.svd(W @ root @ root, full_matrices=False)
    U, S, P = U[:, : c.r], S[: c.r], Vt[: c.r] @ inverse_root @ inverse_root
    return {"U": U, "S": S, "P": P, "W_res": W - svd_family.product(U, S, P)}


def with_relative_eps(right: Any, W: Tensor, c: Any, X: Tensor, mask: Tensor | None) -> Tensors:
    kept = X if mask is None else X[mask.bool()]
    return dict(right(W, replace(c, eps=c.eps * kept.square().mean().item()), X, mask))


def by_highest_index(S: Tensor, activations: Tensor, r: int) -> list[int]:
    last = len(S) - 1
    return sorted(last - i for i in score_l1_trip(S.flip(0), activations.flip(1), r))


def not_folded(activations: Tensor, selected: list[int]) -> list[int]:
    order = descending((activations[0::2] - activations[1::2]).mean(dim=0)[selected])
    half = len(order) // 2
    return [selected[i] for pair in zip(order[:half], order[half:]) for i in pair]


STARTS: tuple[Mistake, ...] = (
    Mistake(
        "pissa_without_s", vectors_of("pissa", init_lora_weights="pissa", scaling=SCALED), other_start(pissa_without_s)
    ),
    Mistake(
        "pissa_all_of_S_in_A",
        vectors_of("pissa", init_lora_weights="pissa", state="init"),
        other_start(pissa_one_sided),
    ),
    Mistake(
        "pissa_one_round_short",
        vectors_of("pissa", init_lora_weights="pissa_niter_4"),
        other_start(lambda right, W, c, *a, **k: right(W, replace(c, niter=c.niter - 1), *a, **k)),
    ),
    Mistake(
        "pissa_fast_start_exact",
        vectors_of("pissa", init_lora_weights="pissa_niter_4"),
        other_start(lambda right, W, c, *a, **k: right(W, replace(c, niter=None))),
    ),
    Mistake(
        "antipasto3_residual_not_rounded",
        vectors_of("antipasto3"),
        other_start(lambda right, W, c, *a: svd_family.kept(W, c.indices or range(4 if min(W.shape) == 12 else 8))),
    ),
    Mistake(
        "antipasto3_indices_ignored",
        with_tensor("selected_indices", vectors_of("antipasto3")),
        other_start(lambda right, W, c, *a: right(W, replace(c, indices=None))),
    ),
    Mistake(
        "selection_with_the_other_pool",
        lambda v: (
            v.verification.get("init_checks", {}).get("differs_from_other_pool", False) and "act_pool" in v.config
        ),
        other_start(lambda right, W, c, *a: right(W, replace(c, pool=POOLS[c.pool]), *a)),
    ),
    Mistake(
        "selection_of_centred_inputs",
        with_tensor("scores", vectors_of(*BY_DATA)),
        other_start(lambda right, W, c, X, mask: right(W, c, X - X.mean(dim=0), mask)),
    ),
    Mistake(
        "selection_without_inputs",
        with_tensor("scores", vectors_of(*BY_DATA)),
        other_start(lambda right, W, c, X, mask: right(W, c)),
    ),
    Mistake(
        "corda_padding_counts",
        with_tensor("calib_mask", vectors_of("antipasto_corda")),
        other_start(lambda right, W, c, X, mask: right(W, c, X)),
    ),
    Mistake(
        "corda_centred",
        vectors_of("antipasto_corda"),
        other_start(lambda right, W, c, X, mask: right(W, c, X - X.mean(dim=0), mask)),
    ),
    Mistake(
        "corda_sum_instead_of_mean",
        vectors_of("antipasto_corda"),
        other_start(lambda right, W, c, X, mask: right(W, c, X * len(X) ** 0.5, mask)),
    ),
    Mistake("corda_eps_relative_to_C", vectors_of("antipasto_corda"), other_start(with_relative_eps)),
    Mistake("corda_by_C_instead_of_its_root", vectors_of("antipasto_corda"), other_start(oriented_by_C)),
    Mistake(
        "ablate_padding_left_out",
        with_tensor("calib_mask", vectors_of("antipasto_ablate")),
        other_start(lambda right, W, c, X, mask: right(W, c, X[mask.bool()])),
    ),
    Mistake(
        "ablate_not_oriented",
        vectors_of("antipasto_ablate", cov_orient=True),
        other_start(lambda right, W, c, X, mask: right(W, c)),
    ),
    Mistake(
        "dimensions_of_ties_by_highest_index",
        lambda v: v.variant == "antipasto3_dim_selection" and v.file.endswith("_ties.safetensors"),
        lambda v: dimensions(v, select=by_highest_index),
    ),
    Mistake(
        "dimensions_without_singular_values",
        vectors_of("antipasto3_dim_selection"),
        lambda v: dimensions(v, select=lambda S, a, r: score_l1_trip(torch.ones_like(S), a, r)),
    ),
    Mistake(
        "dimensions_of_signed_means",
        vectors_of("antipasto3_dim_selection"),
        lambda v: dimensions(v, select=lambda S, a, r: svd_family.highest(S * a.mean(dim=0).abs(), r)),
    ),
    Mistake(
        "dimensions_not_folded",
        with_tensor("interleaved", vectors_of("antipasto3_dim_selection")),
        lambda v: dimensions(v, interleave=not_folded),
    ),
    Mistake(
        "dimensions_by_rejected_minus_chosen",
        with_tensor("interleaved", vectors_of("antipasto3_dim_selection")),
        lambda v: dimensions(v, interleave=lambda a, chosen: polarity_interleave(-a, chosen)),
    ),
)
