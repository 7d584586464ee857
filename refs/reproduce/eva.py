"""Recompute what the vectors of EVA recorded: decompositions, searches over a model, ranks, layers built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from refs.golden_vectors import Vector
from refs.reproduce.distance import Distance, as_recorded, same_indices, size
from refs.transcriptions import eva

IGNORED = -100
"""The label of a position that does not count."""
LAYERS = ("a", "b", "c")
SHARING = {"b": "a"}


def decomposition(vector: Vector, begin: Callable[[int], eva.Principal] = eva.Principal) -> Iterator[Distance]:
    """``eva_svd_hook``: every batch's components, singular values, variances, mean and convergence."""
    t, config = vector.tensors, vector.config
    state = begin(config["n_components"])
    for k in range(config["n_batches"]):
        rows = eva.masked(t[f"inputs_{k}"].double(), [t[f"mask_{k}"] != 0] if f"mask_{k}" in t else [])
        drawn = t.get(f"svd_lowrank_test_matrix_{k}")
        state = state.step(rows, config["sim_thresh"], None if drawn is None else drawn.double())
        told = {
            "components": state.V,
            "singular_values": state.S,
            "explained_variance": state.variance,
            "explained_variance_ratio": state.ratio,
            "mean": state.mean,
        }
        yield from (as_recorded(vector, f"{name}_{k}", value) for name, value in told.items() if f"{name}_{k}" in t)
        yield same_indices(f"converged_{k}", [int(c) for c in state.converged], t[f"converged_{k}"])


def search(vector: Vector, **changes: Any) -> Iterator[Distance]:
    """``eva_compute_svd``: ranks, steps and rows of A on the recorded model of three layers.

    ``changes``: options of ``refs.transcriptions.eva.search`` in place of the recorded ones.
    """
    t, c = vector.tensors, vector.config
    options = {"metric": c["metric"], "tau": c["sim_thresh"], "min_batches": c["min_batches"]}
    options |= {"whiten": c["whiten"], "scaled": c["scale_by_singular_values"], **changes}
    batches = [_inputs(vector, k) for k in range(c["n_batches"])]
    settled = eva.search(batches, SHARING, c["rank"], c["rho"], **options)
    yield same_indices("ranks", [settled.ranks[name] for name in LAYERS], t["ranks"])
    yield same_indices("steps", [settled.steps], t["steps"])
    for name in LAYERS:
        if f"A.{name}" in t or name in settled.A:
            yield as_recorded(vector, f"A.{name}", settled.A[name])


def _inputs(vector: Vector, k: int) -> dict[str, Tensor]:
    """What a and c see of a batch: h = emb[ids], and tanh(b(h))."""
    t = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in vector.tensors.items()}
    h = t["emb"][t[f"input_ids_{k}"].long()]
    masks = [t[f"attention_mask_{k}"] != 0]
    if vector.config["use_label_mask"]:
        masks.append(t[f"labels_{k}"] != IGNORED)
    return {"a": eva.masked(h, masks), "c": eva.masked(torch.tanh(h @ t["b.weight"].T + t["b.bias"]), masks)}


def redistribution(vector: Vector) -> Iterator[Distance]:
    """``eva_redistribution``: counts of the authors' other helper, and the rows that each layer keeps."""
    t, c = vector.tensors, vector.config
    names = [str(i) for i in range(c["n_layers"])]
    shares = {name: t[f"exp_var_{name}"][: c["rank"] * c["rho"]] for name in names}
    counts = eva.redistribute(shares, c["rank"] * len(names), {}, ascending=True)
    yield same_indices("counts", [counts[name] for name in names], t["counts"])
    for name in names:
        if counts[name]:
            yield as_recorded(vector, f"A_{name}", t[f"svd_{name}"][: counts[name]].double())


def adapter(vector: Vector, scale: Callable[[float, int], float] = eva.scale) -> Iterator[Distance]:
    """``eva_adapter``: the layers that the authors' loader builds, in a row, at the start and trained."""
    t = {name: tensor.double() for name, tensor in vector.tensors.items()}
    c, names = vector.config, [str(i) for i in range(len(vector.config["ranks"]))]
    A = {}
    for name in names:
        started = eva.start(t[f"svd_{name}"], t[f"lora_A_{name}"], c.get("n_components_for_init"))
        yield as_recorded(vector, f"lora_A_{name}", started)
        yield as_recorded(vector, f"lora_B_{name}", torch.zeros_like(t[f"lora_B_{name}"]))
        s = scale(c["lora_alpha"], len(started))
        yield as_recorded(vector, f"scaling_{name}", torch.tensor([s], dtype=torch.float64))
        A[name] = started.clone().requires_grad_()
    B = {name: t[f"lora_B_trained_{name}"].requires_grad_() for name in names}
    x = t["x"].requires_grad_()
    yield as_recorded(vector, "y", _through(vector, x, A, {n: torch.zeros_like(B[n]) for n in names}))
    y = _through(vector, x, A, B)
    yield as_recorded(vector, "y_trained", y)
    leaves = {"x": x, **{f"lora_A_{n}": A[n] for n in names}, **{f"lora_B_trained_{n}": B[n] for n in names}}
    gradients = torch.autograd.grad((y * t["g"]).sum(), list(leaves.values()))
    terms = size(y * t["g"])
    for name, gradient in zip(leaves, gradients):
        yield as_recorded(vector, f"grad.{name}", gradient, terms=terms)


def _through(vector: Vector, x: Tensor, A: dict[str, Tensor], B: dict[str, Tensor]) -> Tensor:
    t, y = {name: tensor.double() for name, tensor in vector.tensors.items()}, torch.zeros(())
    for name in A:
        s = t[f"scaling_{name}"]  # as recorded, in float32
        z = x @ t[f"W_{name}"].T + s * (x @ A[name].T) @ B[name].T
        z = z + t[f"bias_{name}"] if f"bias_{name}" in t else z
        y = y + z
    return y
